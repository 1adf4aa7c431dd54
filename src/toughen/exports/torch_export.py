"""`torch.export`, run by PyTorch alone."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from toughen.exports import alone
from toughen.exports.formats import FACTS


def program(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The network as a graph of tensor operations that takes any number of images."""
    shapes = ({0: torch.export.Dim("batch")},)
    with torch.no_grad():
        try:
            return torch.export.export(network, (example,), dynamic_shapes=shapes)
        except Exception:
            # Run as it is, `len(images)` is a number for good; read from the code, it stays the batch.
            return torch.export.export(network, (example,), dynamic_shapes=shapes, strict=True)


def write(network: nn.Module, example: Tensor, facts: Mapping[str, str], path: Path) -> None:
    """A program, with the facts in a file beside it."""
    with path.open("wb") as file:  # a path must end in .pt2
        torch.export.save(program(network, example), file, extra_files={FACTS: json.dumps(dict(facts))})


def logits(path: Path, images: Tensor) -> Tensor:
    """What a process gives that has PyTorch and not this package."""
    return alone.logits_of(path, images, "torch.export.load(path).module()")


def runtime() -> str:
    """The library and its version."""
    return f"PyTorch {torch.__version__} without toughen"
