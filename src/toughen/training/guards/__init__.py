"""Guards of a run: each looks for one way in which training goes wrong, and says what it found; the loop acts."""
