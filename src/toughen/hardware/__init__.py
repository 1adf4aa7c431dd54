"""What this machine is and can: devices, precisions, speed and memory."""
