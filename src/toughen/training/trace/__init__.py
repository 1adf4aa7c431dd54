"""What a training records of itself beside its figures, none of which changes it."""
