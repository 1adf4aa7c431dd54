"""Files from anywhere, read within limits and checked once against what they are declared to hold."""
