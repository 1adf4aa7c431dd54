"""The typed functions behind the three doors: `train`, `evaluate`, `compare`."""
