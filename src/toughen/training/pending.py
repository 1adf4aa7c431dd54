"""Files of a run that its disk did not take yet, so that a full disk costs a warning and not the run."""

import time
import warnings
from collections.abc import Callable

from toughen.errors import RunError, ToughenWarning
from toughen.run import RunFolder

PATIENCE = 600.0
"""Seconds that the end of a run waits for a disk that takes its last files."""
_PAUSE = 5.0


class PendingWrites:
    """What is to be written into a run's folder, in the order in which it is to be there.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._waiting: dict[str, Callable[[], None]] = {}

    def add(self, name: str, write: Callable[[], None]) -> None:
        """Put a file last, in place of what waits under this name."""
        self._waiting.pop(name, None)
        self._waiting[name] = write

    def try_now(self) -> None:
        """Write what can be written; the rest stays, and a `ToughenWarning` says why."""
        try:
            self._write()
        except RunError as error:
            warnings.warn(
                f"{error}. The training goes on and saves when it can; what is not saved would be lost with this "
                "process",
                ToughenWarning,
                stacklevel=2,
            )

    def insist(self, patience: float, given_up: Callable[[], bool] = lambda: False) -> None:
        """Write everything, and try again for so many seconds, or until somebody gives up.

        Raises:
            RunError: it cannot be written.
        """
        end = time.monotonic() + patience
        while True:
            try:
                return self._write()
            except RunError:
                if time.monotonic() + _PAUSE > end or given_up():
                    raise
            time.sleep(_PAUSE)

    def _write(self) -> None:
        for name, write in list(self._waiting.items()):
            # Not the folder: a write that was under way as it vanished makes an empty one of its name.
            if not self.folder.config.exists():
                raise RunError(f"the run's folder {self.folder.path} has vanished; put it back")
            write()
            del self._waiting[name]
