"""Memory in use, memory that there is, and the largest batch that fits into it."""

import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toughen.errors import RunError
from toughen.hardware.speed import wait_for

_CGROUP = Path("/sys/fs/cgroup")
"""Where a container with version 2 of control groups sees its own."""

_NO_MEMORY = ("out of memory", "can't allocate memory", "CUDNN_STATUS_NOT_SUPPORTED", "std::bad_alloc")
"""What torch says where a device or the host has none left, or too little for cuDNN."""

SHARE = 0.9
"""Of the memory that is free which a step may take: a full GPU fragments, and a full machine ends the process."""


def peak_memory(device: torch.device) -> int:
    """The most bytes in use so far: of tensors on a GPU, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        # Not getrusage, in which a process inherits the peak of the one that started it.
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return int(psutil.Process().memory_info().rss)


def forget_peak_memory(device: torch.device) -> None:
    """Let `peak_memory` see only what follows, where the system can do that (GPUs by NVIDIA, Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def free_memory(device: torch.device) -> float:
    """Bytes that this process may have in use, those of now included; to compare with `peak_memory`."""
    if device.type == "cuda":
        mine = torch.cuda.memory_allocated(device)
        cached = torch.cuda.memory_reserved(device) - mine
        return mine + SHARE * (torch.cuda.mem_get_info(device)[0] + cached)
    return psutil.Process().memory_info().rss + SHARE * available_memory()


def is_out_of_memory(error: Exception) -> bool:
    """Whether this error says that a device or the host had no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # By their words, and by no library that would have to be imported now.
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def available_memory() -> int:
    """Bytes of the host's memory that this process may still take: what is free, or a container's limit leaves."""
    available = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):
        limit, used = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        facts = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        # Files that were read lately are counted as used, and go when somebody needs the room.
        return max(0, min(available, limit - used + int(facts.get("inactive_file", 0))))
    return available


@dataclass(frozen=True)
class Trial:
    """A batch size that was tried.

    Attributes:
        batch_size: images in a step.
        memory: the most bytes in use; expected ones where the step was not taken, for they are too many.
        images_per_second: speed of the training steps; None where the batch does not fit.
    """

    batch_size: int
    memory: int
    images_per_second: float | None

    @property
    def fits(self) -> bool:
        """Whether its steps were taken, within the limit."""
        return self.images_per_second is not None


class Trials:
    """Tries batch sizes, and remembers what they took.

    What a size will need is told from the two largest that were taken; if that is more than there is, it is not tried:
    on a CPU the system would end the process.

    Args:
        attempt: computes on a batch of such a size and gives the images a second.
        device: where.
        limit: bytes that may be in use.
        tried: called after every size.
    """

    def __init__(
        self,
        attempt: Callable[[int], float],
        device: torch.device,
        limit: float,
        tried: Callable[[Trial], None] = lambda trial: None,
    ) -> None:
        self.attempt, self.device, self.limit, self.tried = attempt, device, limit, tried
        self.made: list[Trial] = []

    def fits(self, batch_size: int) -> bool:
        """Try a size, unless it is sure not to fit."""
        trial = Trial(batch_size, self._expected(batch_size), None)
        if trial.memory <= self.limit:
            trial = self._try(batch_size)
        self.made.append(trial)
        self.tried(trial)
        return trial.fits

    def _expected(self, batch_size: int) -> int:
        """Bytes by the straight line through the two largest sizes that were taken; 0 before there are two."""
        taken = sorted((trial.batch_size, trial.memory) for trial in self.made if trial.fits)[-2:]
        if len(taken) < 2:
            return 0
        (size, bytes_), (larger, more) = taken
        return int(more + (more - bytes_) / (larger - size) * (batch_size - larger))

    def _try(self, batch_size: int) -> Trial:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        forget_peak_memory(self.device)
        speed: float | None = None
        try:
            speed = self.attempt(batch_size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        memory = peak_memory(self.device)
        return Trial(batch_size, memory, speed if memory <= self.limit else None)


def largest(fits: Callable[[int], bool], start: int, most: int) -> int | None:
    """The largest batch size up to `most` that fits, to within a sixteenth; None where not even 2 images do.

    Doubles from `start` until a size does not fit, then bisects; halves first where `start` itself does not fit. Larger
    sizes are multiples of 8.

    Args:
        fits: tries a size; called once for each. A size below one that fits is expected to fit.
        start: the first size, at least 2.
        most: no size above.

    >>> tried = []
    >>> largest(lambda size: tried.append(size) or size <= 150, start=32, most=1000), tried
    (144, [32, 64, 128, 256, 192, 160, 144, 152])
    """
    start = min(start, most)
    low: int | None = start if fits(start) else None
    high = start if low is None else None
    while low is None and high is not None and high > 2:
        smaller = max(2, high // 2)
        low, high = (smaller, high) if fits(smaller) else (None, smaller)
    while low is not None and high is None and low < most:
        larger = min(2 * low, most)
        low, high = (larger, None) if fits(larger) else (low, larger)
    while low is not None and high is not None and high - low > max(1, low // 16):
        middle = (low + high) // 2
        rounded = middle - middle % 8
        middle = rounded if rounded > low else middle
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


_COPIES = 50
"""Of the batch that an attack holds beside the network's own memory; FAB holds the most."""


def largest_batch(model: nn.Module, image: Tensor, most: int, memory: float | None = None, start: int = 250) -> int:
    """The largest batch whose attack fits, to within a sixteenth: passes and gradients are tried, not estimated.

    Args:
        model: images in [0, 1] to logits; frozen.
        image: one, 1 x C x H x W, on the device of the model.
        most: no size above.
        memory: bytes that may be in use; default nine tenths of what is free.
        start: the first size that is tried.

    Raises:
        RunError: not even 2 images fit.
    """
    device = image.device

    def attempt(size: int) -> float:
        images = image.expand(size, -1, -1, -1).contiguous().requires_grad_()
        held = [images.detach().clone() for _ in range(_COPIES)]
        logits = model(images)
        loss = F.cross_entropy(logits, logits.argmax(dim=1), reduction="sum")
        if loss.requires_grad:  # else the model has no gradient, which the preflight will say
            torch.autograd.grad(loss, images, allow_unused=True)
        wait_for(device)
        return float(len(held[0]))

    limit = free_memory(device) if memory is None else memory
    found = 1 if most == 1 else largest(Trials(attempt, device, limit).fits, start, most)
    if found is None:
        raise RunError(f"not even 2 images fit into the memory of {device} under attack; take a smaller model")
    return found
