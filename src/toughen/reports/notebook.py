"""Progress in a notebook: a bar that is drawn again in its place, without widgets."""

import sys
from collections.abc import Mapping
from html import escape
from time import monotonic
from typing import Any

from toughen.data import ImageSet, Split
from toughen.evaluation.progress import Progress, Step
from toughen.training import Observer, Silent

_PAUSE = 0.3
"""Seconds between two drawings."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    get: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    return "IPKernelApp" in getattr(get(), "config", {})


def usual_observer() -> Observer:
    """Who watches a training where nobody else does: a bar in a notebook, nobody elsewhere."""
    return NotebookTraining() if in_notebook() else Silent()


def usual_progress() -> Progress | None:
    """The same for an evaluation."""
    return NotebookEvaluation() if in_notebook() else None


class _Bar:
    """One output of a cell, drawn again in its place."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.drawn = 0.0

    def show(self, done: int, total: int, text: str, pause: float = _PAUSE) -> None:
        """Draw it, unless it was drawn a moment ago."""
        if monotonic() - self.drawn < pause:
            return
        from IPython.display import HTML, display

        self.drawn = monotonic()
        bar = HTML(f'<progress value="{done}" max="{max(total, 1)}"></progress> <code>{escape(text)}</code>')
        if self.handle is None:
            self.handle = display(bar, display_id=True)
        else:
            self.handle.update(bar)


class NotebookTraining:
    """A bar over the steps of a training, with the last epoch's figures."""

    def __init__(self) -> None:
        self.bar, self.text, self.total, self.done = _Bar(), "training", 0, 0
        self.epochs = 0

    def read(self, images: Mapping[Split, ImageSet]) -> None:
        """Do nothing."""

    def started(self, epochs: int, steps_per_epoch: int, step: int) -> None:
        """Draw the bar."""
        self.epochs, self.total, self.done = epochs, epochs * steps_per_epoch, step
        self.bar.show(step, self.total, self.text, pause=0)

    def stepped(self, step: int) -> None:
        """Move the bar."""
        self.done = step
        self.bar.show(step, self.total, self.text)

    def epoch_ended(self, row: dict[str, float]) -> None:
        """Show the epoch's figures."""
        figures = f"clean {row['val_clean']:.1%}, PGD-10 {row['val_pgd']:.1%} on held-out images"
        self.text = f"epoch {row['epoch']:.0f}/{self.epochs}: {figures}"

    def finished(self) -> None:
        """Show where it ended."""
        self.bar.show(self.done, self.total, self.text, pause=0)


class NotebookEvaluation:
    """A bar over the images of an evaluation, with the attack that runs."""

    def __init__(self) -> None:
        self.bar = _Bar()

    def __call__(self, step: Step) -> None:
        """Show that an attack begins on the images after the first `step.done`."""
        text = f"evaluating: {step.attack}" if step.attack else "evaluated"
        self.bar.show(step.done, step.total, text, pause=_PAUSE if step.attack else 0)
