"""Speed of a device, and the work that a network asks of it."""

import time
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class FlopCounter(TorchDispatchMode):
    """Adds up the FLOPs of what is computed inside, by torch's own formulas; two for a multiplication and an addition.

    torch's `FlopCounterMode` also attributes them to modules, by hooks that refuse `torch.autograd.grad`.

    >>> with FlopCounter() as counter:
    ...     torch.ones(2, 3) @ torch.ones(3, 5)  # doctest: +ELLIPSIS
    tensor...
    >>> counter.flops
    60
    """

    def __init__(self) -> None:
        super().__init__()
        from torch.utils.flop_counter import flop_registry  # here, because it imports triton

        self.flops, self._formulas = 0, flop_registry

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute what was asked for, and count it."""
        result = func(*args, **(kwargs or {}))
        formula = self._formulas.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


def matmul_peak(device: torch.device, dtype: torch.dtype, seconds: float = 0.2) -> float:
    """The FLOP/s that this device reaches in a product of two large square matrices: the best of several products.

    Args:
        device: measured as it is set up now, with torch's present number of threads.
        dtype: that of the matrices.
        seconds: about how long to measure; at least two products are made.
    """
    # Large enough for the device's full speed, and not a memory peak of its own.
    n = 1024 * round(torch.get_num_threads() ** (1 / 3)) if device.type == "cpu" else 4096
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(n, n, generator=generator, device=device).to(dtype) for _ in range(2))
    best, end, products = float("inf"), time.perf_counter() + seconds, 0
    while products < 2 or time.perf_counter() < end:
        wait_for(device)
        began = time.perf_counter()
        torch.mm(left, right)
        wait_for(device)
        best, products = min(best, time.perf_counter() - began), products + 1
    return 2 * n**3 / best


def wait_for(device: torch.device) -> None:
    """Wait until the device has done what it was given; a CPU has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
