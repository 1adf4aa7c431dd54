"""TorchScript, for what reads nothing newer, such as libtorch in C++."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from toughen.exports import alone
from toughen.exports.formats import FACTS


def write(network: nn.Module, example: Tensor, facts: Mapping[str, str], path: Path) -> None:
    """A trace of the network, or its code where a trace fixes the batch; with the facts in a file beside it."""
    torch.jit.save(_scripted(network, example), str(path), _extra_files={FACTS: json.dumps(dict(facts))})


def _scripted(network: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    with torch.no_grad():
        traced = torch.jit.trace(network, (example,), check_trace=False)
        try:
            traced(example[:1])
        except RuntimeError:  # as after `len(images)`, which a trace takes for a number
            return torch.jit.script(network)
        return traced


def logits(path: Path, images: Tensor) -> Tensor:
    """What a process gives that has PyTorch and not this package."""
    return alone.logits_of(path, images, "torch.jit.load(path).eval()")


def runtime() -> str:
    """The library and its version."""
    return f"PyTorch {torch.__version__} without toughen"
