"""The images of a run: read and examined, what the run keeps of them, and the names of their classes."""
