"""What an evaluation keeps: its specification, verdicts on disk, and how parts become the whole."""
