"""The formats there are, and what is the same for all of them."""

import importlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from toughen.errors import InputError, ToughenError
from toughen.models.build import Classifier

Format = Literal["onnx", "torch-export", "safetensors", "torchscript"]
ENDINGS: Mapping[Format, str] = {
    "onnx": ".onnx",
    "torch-export": ".pt2",
    "safetensors": ".safetensors",
    "torchscript": ".ts",
}
FACTS = "toughen.json"
"""The name under which a file that takes further files keeps its facts."""


@dataclass(frozen=True)
class Form:
    """One format.

    Attributes:
        name: of the format.
        write: puts a network into a file: called with network, example images (2 x C x H x W), facts, path.
        logits: of images, as the file gives them in its own runtime: called with path, images.
        runtime: what that is, and its version.
    """

    name: Format
    write: Callable[[nn.Module, Tensor, Mapping[str, str], Path], None]
    logits: Callable[[Path, Tensor], Tensor]
    runtime: Callable[[], str]


def form(name: Format) -> Form:
    """The format of this name."""
    module: Any = importlib.import_module(f"toughen.exports.{name.replace('-', '_')}")
    return Form(name, module.write, module.logits, module.runtime)


def put_into_file(
    network: nn.Module, shape: tuple[int, int, int], facts: Mapping[str, str], name: Format, path: Path
) -> None:
    """Put a network into a file of this format; its first dimension stays free.

    Args:
        network: images in [0, 1], N x C x H x W, to logits; in eval mode, on the CPU.
        shape: of an image.
        facts: what the file says of itself.
        name: of the format.
        path: the file.

    Raises:
        InputError: a network that gives another answer each time, or that this format cannot hold.
        ToughenError: a library that the format needs is missing.
        OSError: the disk cannot be written.
    """
    example = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = network(example), network(example)
    if not torch.equal(first, second):
        raise InputError(
            "the network gives another answer each time (it draws random numbers), and a file could not be compared "
            "with it; export one that does not"
        )
    try:
        # The libraries tell of their own steps, and warn of what the check that follows looks at.
        with _silence():
            form(name).write(network, example, facts, path)
    except (ToughenError, OSError):
        raise
    except Exception as error:  # whatever a tracer says to somebody's forward pass
        inner = network.get_submodule("network") if isinstance(network, Classifier) else network
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        others = "--format safetensors keeps its weights and how to build it" if name != "safetensors" else ""
        raise InputError(
            f"{type(inner).__name__} cannot be exported as {name}: {why:.300}; expected a forward pass of tensor "
            f"operations that do not depend on the images' values; {others}".rstrip("; ")
        ) from error


@contextmanager
def _silence() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
