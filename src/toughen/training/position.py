"""Where a run is, and what it has reached."""

from dataclasses import dataclass, field
from typing import Any

from toughen.training.log import EpochSums, Row


@dataclass
class Position:
    """Where a run is, and what it has reached; its checkpoints keep it.

    Attributes:
        epoch: whole epochs that are done.
        batch: batches of the next epoch that are done.
        seconds: that those of the next epoch took.
        flops: that those of the next epoch took.
        sums: means of the loss terms over the next epoch.
        rows: the figures of the epochs that are done.
        best: the best score of an epoch.
        best_epoch: the number, from 1, of the epoch whose network is reported; 0 before there is one.
        begun: what the run was begun with, as plain data.
    """

    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    sums: EpochSums = field(default_factory=EpochSums)
    rows: list[Row] = field(default_factory=list)
    best: float = -1.0
    best_epoch: int = 0
    begun: dict[str, Any] = field(default_factory=dict)

    def end_epoch(self, row: Row, score: float, always: bool) -> bool:
        """Take in an epoch's figures; whether its network is the one to be reported.

        Args:
            row: the figures.
            score: by which epochs are compared; ties go to the later one, which has seen more.
            always: report the last epoch, whatever its score.
        """
        best = always or score >= self.best
        self.rows = [*self.rows, row]
        self.best, self.best_epoch = max(self.best, score), self.epoch + 1 if best else self.best_epoch
        self.epoch, self.batch, self.seconds, self.flops, self.sums = self.epoch + 1, 0, 0.0, 0.0, EpochSums()
        return best
