"""The device that a name means on this machine."""

import torch

from toughen.errors import InputError
from toughen.hardware.processes import Processes


def find_device(name: str | torch.device) -> torch.device:
    """The device of this name: `auto` is the GPU where there is one, else the CPU.

    Of several processes that torchrun started on a machine, each gets a GPU of its own for `auto` and `cuda`.

    Raises:
        InputError: an unknown device, or one that this machine lacks.

    >>> find_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        place = Processes.from_environment().local_rank
        if device.type == "cuda" and device.index is None and place is not None:
            device = torch.device("cuda", place % max(1, torch.cuda.device_count()))
        if device.type == "meta":
            raise RuntimeError("it holds no values")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--device: expected auto, cpu, cuda, cuda:1 or mps, got {str(name)!r}, which cannot be used: {reason}"
        ) from error
    return device
