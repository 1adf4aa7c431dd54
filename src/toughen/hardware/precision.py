"""The precision of networks' passes; distances, losses and projections are computed in fp32 or better."""

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["auto", "fp32", "bf16"]
"""Of a network's passes; auto is chosen by `choose_precision`."""

_CPUINFO = Path("/proc/cpuinfo")
"""Where Linux says what the CPU is."""

PAYS = 10e6
"""From so many FLOPs an image in a forward pass on a CPU spends its time in products, and not in casts between them."""


def at_least_fp32(tensor: Tensor) -> Tensor:
    """The tensor itself in fp32 or fp64, any narrower one widened to fp32."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def choose_precision(
    asked: Precision, device: torch.device, flops: Callable[[], float] = lambda: PAYS
) -> Literal["fp32", "bf16"]:
    """The precision that is meant: what was asked for; for auto bf16 where it is faster on this hardware.

    Auto never measures a time, so that the same seed gives the same run: on a CPU it also asks for the network's size.

    Args:
        asked: auto, fp32 or bf16.
        device: the one on which the network computes.
        flops: gives the FLOPs of a forward pass on one image; called for auto on a CPU with fast bf16 only.
    """
    if asked != "auto":
        return asked
    if not native_bf16(device):
        return "fp32"
    return "bf16" if device.type == "cuda" or flops() >= PAYS else "fp32"


def native_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies matrices faster in bf16 than in fp32.

    GPUs by NVIDIA from compute capability 8.0 on. CPUs with AMX tiles, and AMD's with AVX512-BF16 (Zen 4 and later),
    which have about twice the rate of fp32 (measured on one core of an EPYC, family 25 model 17). Intel's AVX512-BF16
    without AMX, which virtual machines often show, has half the rate of fp32 (measured: 100 against 190 GFLOP/s on one
    core of a Xeon, family 6 model 207), so it does not count.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    return _cpu_has("_is_amx_tile_supported") or (_cpu_has("_is_avx512_bf16_supported") and "AMD" in _vendor())


@contextmanager
def tf32(device: torch.device, allowed: bool) -> Iterator[None]:
    """Let a GPU compute fp32 products and convolutions in TF32 inside, or not; restore the settings afterwards."""
    if device.type != "cuda":
        yield
        return
    former = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(former[0])
        torch.backends.cudnn.allow_tf32 = former[1]


def _cpu_has(name: str) -> bool:
    ask = getattr(torch.cpu, name, None)  # not part of torch's promised interface
    return ask is not None and bool(ask())


@cache
def _vendor() -> str:
    """Name that the CPU's maker gives itself, such as AuthenticAMD."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("vendor_id")), "")
