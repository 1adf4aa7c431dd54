"""Settings as plain data: from signatures, the command line and files to objects, and back."""
