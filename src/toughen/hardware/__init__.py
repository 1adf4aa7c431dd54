"""Devices, precisions, speed and memory of this machine, and the processes that share a run."""
