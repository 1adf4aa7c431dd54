"""The processes that share a piece of work. The environment is asked for them nowhere else."""

import os
from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist

# Shards of unequal speed wait for each other; gloo's own limit of half an hour is meant for training steps.
_PATIENCE = timedelta(days=7)


class Processes:
    """The processes that share one run or evaluation; a context manager.

    Attributes:
        rank: this process, from 0.
        size: number of processes.
        local_rank: this process among those of its machine, from 0; None where no launcher says it.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int | None = None) -> None:
        self.rank, self.size, self.local_rank = rank, size, local_rank
        self._own = False

    @classmethod
    def from_environment(cls) -> "Processes":
        """The processes that torchrun started; one where it did not."""
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        return cls(rank, size, int(os.environ["LOCAL_RANK"]) if "LOCAL_RANK" in os.environ else None)

    @property
    def first(self) -> bool:
        """Whether this process joins and reports what all have found."""
        return self.rank == 0

    def device(self, asked: str) -> str:
        """The device for this process: with several of them on a machine, auto gives each a GPU of its own."""
        if self.size > 1 and asked == "auto" and torch.cuda.is_available():
            place = self.rank if self.local_rank is None else self.local_rank
            return f"cuda:{place % torch.cuda.device_count()}"
        return asked

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.size > 1:
            dist.barrier()

    def agree(self, answer: bool) -> bool:
        """The first process's answer, in every process; all come here together."""
        if self.size == 1:
            return answer
        said = [answer]
        dist.broadcast_object_list(said, src=0)
        return said[0]

    def __enter__(self) -> "Processes":
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("gloo", timeout=_PATIENCE)
            self._own = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own:
            dist.destroy_process_group()
