"""A training run's progress on the terminal."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class TrainingProgress:
    """A bar over the whole run with the last epoch's figures and the time left; one line an epoch where no terminal is.

    Args:
        console: where it is drawn.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("steps, left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.epochs = 0

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
        losses = "  ".join(
            f"{name[5:]} {value:.3f}" for name, value in row.items() if name.startswith("loss/")
        )
        self.bar.console.print(
            f"epoch {row['epoch']:>3.0f}/{self.epochs}  val clean {row['val_clean']:.1%}  PGD {row['val_pgd']:.1%}  "
            f"{losses}  {row['images_per_second']:,.0f} images/s",
            highlight=False,
        )

    def finished(self) -> None:
        """Take the bar away."""
        self.bar.stop()


class EvaluationProgress:
    """A bar over the attacks and images of an evaluation; a context manager that takes the bar away.

    Args:
        console: where it is drawn.
    """

    def __init__(self, console: Console) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("images,"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("evaluating", total=None)

    def __enter__(self) -> "EvaluationProgress":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, done: int, total: int, attack: str) -> None:
        """Show that `attack` begins on the images after the first `done` of `total`."""
        self.bar.start()
        self.bar.update(self.task, completed=done, total=total, description=f"evaluating: {attack}")
