"""The progress of a training run or an evaluation on the terminal."""

from collections.abc import Mapping
from time import monotonic

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from toughen.data import ImageSet, Split
from toughen.evaluation.cost import Cost
from toughen.evaluation.progress import Step
from toughen.reports.text import duration


class TrainingProgress:
    """A bar over the whole run with the last epoch's figures and the time left; one line an epoch where no terminal is.

    Args:
        console: where it is drawn.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("steps, left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.epochs = 0

    def read(self, images: Mapping[Split, ImageSet]) -> None:
        """Print how many images of each class there are."""
        for split, each in images.items():
            self.console.print(
                f"{split + ':':<7} {len(each):,} images of {each.name}, {class_counts(each)}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    def started(self, epochs: int, steps_per_epoch: int, step: int) -> None:
        """Draw the bar."""
        self.epochs = epochs
        self.task = self.bar.add_task("training", total=epochs * steps_per_epoch, completed=step)
        self.bar.start()

    def stepped(self, step: int) -> None:
        """Move the bar."""
        self.bar.update(self.task, completed=step)

    def epoch_ended(self, row: dict[str, float]) -> None:
        """Print the epoch's figures."""
        losses = "  ".join(f"{name[5:]} {value:.3f}" for name, value in row.items() if name.startswith("loss/"))
        self.bar.console.print(
            f"epoch {row['epoch']:>3.0f}/{self.epochs}  val clean {row['val_clean']:.1%}  PGD {row['val_pgd']:.1%}  "
            f"{losses}  {row['images_per_second']:,.0f} images/s",
            highlight=False,
            soft_wrap=not self.console.is_terminal,  # a log's reader searches lines
        )

    def finished(self) -> None:
        """Take the bar away."""
        self.bar.stop()


def class_counts(images: ImageSet) -> str:
    """Numbers of images by class, in words; of more than 10 classes only the fewest and the most."""
    counts = torch.bincount(images.labels, minlength=len(images.classes)).tolist()
    each = sorted(zip(counts, images.classes, strict=True))
    if len(each) <= 10:
        return ", ".join(f"{name} {count:,}" for count, name in zip(counts, images.classes, strict=True))
    (fewest, small), (most, large) = each[0], each[-1]
    return f"{len(each)} classes of {fewest:,} ({small}) to {most:,} ({large})"


class EvaluationProgress:
    """A bar over the images of an evaluation, with the attack that runs and the time left; a context manager.

    Where no terminal is, a line after the first batch and then at most one a minute.

    Args:
        console: where it is drawn.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("images,"),
            _TimeLeft(),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("evaluating", total=None, ends=None)
        self._said = -_A_MINUTE
        self._done = 0

    def __enter__(self) -> "EvaluationProgress":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, step: Step) -> None:
        """Show that an attack begins on the images after the first `step.done`."""
        if step.cost is not None and (step.cost.seconds or 0) >= _A_MINUTE:
            self.console.print(cost_in_words(step.cost), highlight=False, soft_wrap=True)
        self.bar.start()
        ends = None if step.left is None else monotonic() + step.left
        title = f"evaluating: {step.attack}" if step.attack else "evaluated"
        self.bar.update(self.task, completed=step.done, total=step.total, description=title, ends=ends)
        news = step.done > self._done and step.done < step.total and step.left is not None
        if not self.console.is_terminal and news and monotonic() - self._said >= _A_MINUTE:
            self._said = monotonic()
            left = duration(step.left or 0)
            self.console.print(f"{step.done:,} of {step.total:,} images, about {left} left", highlight=False)
        self._done = step.done


def cost_in_words(cost: Cost) -> str:
    """What attacks cost, in a sentence.

    >>> cost_in_words(Cost(forward=2_000_000, backward=1_000_000, seconds=600, likely=300))
    'the attacks take about 5 min 00 s; if every image held, 10 min 00 s (2.0 million passes forward, 1.0 backward)'
    """
    passes = f"{cost.forward / 1e6:.1f} million passes forward, {cost.backward / 1e6:.1f} backward"
    but = f", without {', '.join(cost.unknown)}" if cost.unknown else ""
    times = f"about {duration(cost.likely or 0)}; if every image held, {duration(cost.seconds or 0)}"
    return f"the attacks take {times} ({passes}){but}"


_A_MINUTE = 60.0


class _TimeLeft(ProgressColumn):
    """Counts down to the end that is expected; attacks differ too much for a rate over all of them."""

    def render(self, task: Task) -> Text:
        """The time left, once it can be told."""
        ends = task.fields.get("ends")
        if task.finished:
            return Text(f"took {duration(task.elapsed or 0)}")
        if ends is None:
            return Text(f"{duration(task.elapsed or 0)} so far")
        return Text(f"about {duration(max(ends - monotonic(), 0))} left")
