"""Weights, and beside them what builds the network around them: one file that `toughen.load` reads."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from toughen._version import __version__
from toughen.models.load import load
from toughen.models.state import extra_as_text, split_state


def write(network: nn.Module, example: Tensor, facts: Mapping[str, str], path: Path) -> None:
    """The tensors, and as texts the facts and what else the state holds."""
    # Copies of their own: tied weights share memory.
    tensors = {name: each.detach().to("cpu", copy=True).contiguous() for name, each in split_state(network)[0].items()}
    save_file(tensors, path, {**facts, **extra_as_text(network)})


def logits(path: Path, images: Tensor) -> Tensor:
    """What the network gives that is built anew from the file."""
    with torch.no_grad():
        return torch.cat([load(path)(part) for part in images.split(64)])


def runtime() -> str:
    """The library and its version."""
    return f"toughen {__version__}, from the file alone"
