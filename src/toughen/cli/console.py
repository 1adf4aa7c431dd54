"""The terminal that the commands print to."""

from rich.console import Console


class Terminal(Console):
    """rich's console, which leaves it to `main` to be silent where the reader has gone."""

    def on_broken_pipe(self) -> None:
        """Pass the error on; called while it is handled."""
        raise
