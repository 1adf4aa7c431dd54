"""The one place that commands print from. Names of classes, runs and files are shown there and never obeyed."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from toughen.printable import visible


def say(text: object, *, end: str = "\n", error: bool = False) -> None:
    """Print a text to standard output, or to standard error."""
    print(visible(str(text)), end=end, file=sys.stderr if error else sys.stdout, flush=True)


class Output:
    """A stream that outlives its reader: what cannot be written is lost, and the work that it tells of goes on.

    Args:
        stream: standard output or standard error; None where the process was started without one.

    Attributes:
        lost: why nothing can be written any more; None while all is well.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = Path(os.devnull).open("w") if stream is None else stream  # noqa: SIM115 - as long as the process
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write, as far as anybody is there to read."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Pass on what was written."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        self.lost = error
        # What waits in the stream's buffer would fail again, at the latest when Python ends.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
