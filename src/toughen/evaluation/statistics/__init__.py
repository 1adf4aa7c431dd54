"""What is told from verdicts: intervals, tests, tables by class, and whether a requirement is met."""
