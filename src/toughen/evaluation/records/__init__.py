"""What an evaluation keeps: its outline, verdicts on disk, and how parts become the whole."""
