"""Tensors from files of safetensors."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from toughen.reading.files import check_file
from toughen.reading.schema import UnfitError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        OSError: it is not there.
        UnfitError: damaged.
    """
    return read_tensors_and_texts(path)[0]


def read_tensors_and_texts(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and the texts beside them; as `read_tensors`."""
    check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise UnfitError(str(error)) from error


def read_texts(path: Path) -> dict[str, str]:
    """The texts beside the tensors of a safetensors file; as `read_tensors`."""
    check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise UnfitError(str(error)) from error
