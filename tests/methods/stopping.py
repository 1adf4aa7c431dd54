"""Stopping a training where a test wants it to stop."""

import signal

from toughen.training import Silent


class StopAt(Silent):
    """Asks the process to stop after a step, as Ctrl-C or a scheduler does."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        self.step, self.number = step, number

    def stepped(self, step: int) -> None:
        if step == self.step:
            signal.raise_signal(self.number)
