"""An evaluation divided over processes or machines."""

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist

from toughen.errors import InputError

# Shards of unequal speed wait for each other; gloo's own limit of half an hour is meant for training steps.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Shard:
    """One of several parts: every `count`-th batch, from the `number`-th on (counted from 1).

    >>> [batch for batch in range(8) if Shard.parse("2/3").takes(batch)]
    [1, 4, 7]
    """

    number: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def takes(self, batch: int) -> bool:
        """Whether the batch of this number (from 0) belongs to it."""
        return batch % self.count == self.number - 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `2/3`: the second of three.

        Raises:
            InputError: not two numbers, or a first one outside 1 .. second.
        """
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise InputError(f"shard: expected i/n with i from 1 to n, such as 1/4 to 4/4, got {text!r}")
        return cls(int(found[1]), int(found[2]))


class Crew:
    """The processes that share one evaluation; a context manager.

    Attributes:
        rank: this process, from 0.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self._own = False

    @classmethod
    def from_environment(cls) -> "Crew":
        """The processes that torchrun started; one where it did not."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    @property
    def first(self) -> bool:
        """Whether this process joins and reports what all have found."""
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """This process's part of the evaluation."""
        return Shard(self.rank + 1, self.size)

    def device(self, asked: str) -> str:
        """The device for this process: with several of them on a machine, auto gives each a GPU of its own."""
        if self.size > 1 and asked == "auto" and torch.cuda.is_available():
            return f"cuda:{int(os.environ.get('LOCAL_RANK', self.rank)) % torch.cuda.device_count()}"
        return asked

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.size > 1:
            dist.barrier()

    def agree(self, answer: bool) -> bool:
        """The first process's answer, in every process; all come here together."""
        if self.size == 1:
            return answer
        said = [answer]
        dist.broadcast_object_list(said, src=0)
        return said[0]

    def __enter__(self) -> "Crew":
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("gloo", timeout=_PATIENCE)
            self._own = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own:
            dist.destroy_process_group()
