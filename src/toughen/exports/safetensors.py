"""Weights, and beside them what builds the network around them: one file that `toughen.load` reads."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from toughen._version import __version__
from toughen.errors import InputError
from toughen.models.load import load
from toughen.models.state import extra_as_text, split_state
from toughen.settings.own_files import names_file


def write(network: nn.Module, example: Tensor, facts: Mapping[str, str], path: Path) -> None:
    """The tensors, and as texts the facts and what else the state holds.

    Raises:
        InputError: what builds the network is a file of the user's.
    """
    built_by = json.loads(facts.get("model", "{}")).get("class_path", "")
    if names_file(built_by):
        raise InputError(
            f"a safetensors file holds no code, and {built_by} builds the network; put it into a package and train "
            "with --model package.module.Name, or use --format torch-export, which needs no code"
        )
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
