"""The processes that share a piece of work. The environment is asked for them nowhere else."""

import os
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import register_rendezvous_handler, rendezvous

from toughen.errors import RunError

PATIENCE = timedelta(days=7)
"""Shards of unequal speed wait for each other; gloo's own limit of half an hour is meant for training steps."""
_REACH = timedelta(minutes=1)
"""For a launcher, which is there before the processes that it starts."""


@cache
def meeting_place() -> str:
    """The `init_method` of a group of processes: torch's own, `env://`, but nobody waits for a launcher that has ended.

    Where torchrun keeps the store in which its processes find each other, one that came when it was gone would look for
    it as long as for the other processes, which may be busy with their images.
    """
    register_rendezvous_handler("toughen", _meet)
    return "toughen://"


def _meet(url: str, timeout: timedelta, **more: Any) -> Iterator[tuple[Any, int, int]]:
    usual = url.replace("toughen:", "env:", 1)
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # the first process keeps it, and may come late
        yield from rendezvous(usual, timeout=timeout, **more)
        return
    try:
        yield from rendezvous(usual, timeout=_REACH, **more)
    except dist.DistError as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise RunError(
            f"the launcher of this process cannot be reached at {place}: it has ended; start it again (a training goes "
            "on with --resume RUN, or with --resume auto in the same command)"
        ) from error


def several_processes() -> bool:
    """Whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized()


def of_all_processes(rows: Tensor) -> Tensor:
    """The rows of every process, in the order of their ranks; each has as many. With one process, its own."""
    if not several_processes():
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


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
            dist.init_process_group("gloo", meeting_place(), timeout=PATIENCE)
            self._own = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own:
            dist.destroy_process_group()
