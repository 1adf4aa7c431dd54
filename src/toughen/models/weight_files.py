"""Files of weights, read without running anything of them: safetensors, and PyTorch's own with `weights_only`."""

import argparse
import pickle
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toughen.errors import RunError
from toughen.models.normalisation import Statistics
from toughen.reading.files import check_file, check_unpacked, readable
from toughen.reading.tensors import read_tensors_and_texts
from toughen.run.manifest import check

EXPECTED = "expected a .safetensors file, or a .pt, .pth or .ckpt file with a state dict in it"
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "ema", "state_dict_ema", "model_ema")
"""Under which name a checkpoint keeps its state dict, the first that it has: Lightning's and timm's, then others."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What DataParallel and DDP, `torch.compile`, Lightning and others put before every name."""
_HARMLESS: list[Any] = [
    argparse.Namespace,  # timm's checkpoints keep their command line
    np.dtype,
    np.float64(0).__reduce__()[0],  # what NumPy's numbers are built by
    *{type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")},
]


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds.

    Attributes:
        state: tensors by name, on the CPU.
        texts: what a safetensors file says of itself; see `toughen.models.state`.
        found: what was taken of a file that holds more than a state dict, in words; empty for a bare one.
        classes: names of the classes in the order of the last layer's rows; None where nobody knows them.
        statistics: the normalisation that the weights were trained behind, where it is known and not among the tensors.
    """

    state: dict[str, Tensor]
    texts: dict[str, str] = field(default_factory=dict)
    found: str = ""
    classes: tuple[str, ...] | None = None
    statistics: Statistics | None = None


def read_weights(path: Path) -> WeightFile:
    """Read a file of weights.

    Raises:
        RunError: no such file, a damaged one, one that is not as its run wrote it, one that holds no state dict, or one
            that only running what is in it could read; the message says how to convert that.
    """
    check(path, f"where it is a run's, `toughen train --resume {path.parent}` makes it again if it can")
    with readable(f"weights from {path}", EXPECTED):
        check_file(path)
        with path.open("rb") as file:
            start = file.read(16)
    if start[8:9] == b"{":
        return _safetensors(path)
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return _of_torch(path)
    raise RunError(f"cannot read weights from {path}: it is of no known format; {EXPECTED}")


def without_prefixes(state: Mapping[str, Tensor], expected: Iterable[str]) -> tuple[dict[str, Tensor], str]:
    """A state under the names that a network has for it, and the prefix that was taken off all of them.

    A network of a library is called `network` in our class for it, and its own files do not say so.

    >>> import torch
    >>> without_prefixes({"module.weight": torch.ones(1)}, ["weight"])
    ({'weight': tensor([1.])}, 'module.')
    """
    names, taken = set(expected), ""
    # torch.optim.swa_utils.AveragedModel counts its updates beside the network.
    found = {name: tensor for name, tensor in state.items() if name != "n_averaged" or name in names}
    while found and not found.keys() & names:
        if any(f"network.{name}" in names for name in found):
            return {f"network.{name}": tensor for name, tensor in found.items()}, taken
        prefix = next((each for each in PREFIXES if all(name.startswith(each) for name in found)), None)
        if prefix is None:
            return dict(state), ""
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
        taken += prefix
    return found, taken


def _safetensors(path: Path) -> WeightFile:
    with readable(f"weights from {path}", EXPECTED):
        return WeightFile(*read_tensors_and_texts(path))


def _of_torch(path: Path) -> WeightFile:
    try:
        if zipfile.is_zipfile(path):
            _check_archive(path)
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except RunError:
        raise
    except pickle.UnpicklingError as error:
        classes = _classes_in(path)
        if not classes:
            raise RunError(f"cannot read weights from {path}: it is damaged; {EXPECTED}") from error
        # Whole networks, and checkpoints that keep objects of their own beside the weights.
        raise RunError(
            f"{path} holds objects ({', '.join(classes[:3])}{', ...' if classes[3:] else ''}), and reading them would "
            "run code that came with it. If you trust whoever made it, convert it once: "
            f"""{_converted(f"torch.load({str(path)!r}, weights_only=False)", path)}, """
            "with ['state_dict'] in place of .state_dict() where it is a checkpoint"
        ) from error
    except Exception as error:  # whatever a reader of pickles meets in damaged bytes
        raise RunError(f"cannot read weights from {path}: {' '.join(str(error).split())[:200]}; {EXPECTED}") from error
    found = _unwrapped(content, path)
    with readable(f"weights from {path}", EXPECTED):
        check_unpacked(path.stat().st_size, sum(tensor.nbytes for tensor in found.state.values()))
    return found


def _check_archive(path: Path) -> None:
    """Refuse what is no state dict at all, and compressed members, which PyTorch never writes."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    names = [member.filename for member in members]
    if any("/code/" in name or name.endswith("constants.pkl") for name in names):
        how = _converted(f"torch.jit.load({str(path)!r})", path)
        raise RunError(f"{path} is a TorchScript program, which would be run. If you trust it, convert it once: {how}")
    if any(name.endswith(("archive_format", "/models/model.json")) for name in names):
        how = _converted(f"torch.export.load({str(path)!r})", path).replace(".state_dict()", ".state_dict")
        raise RunError(f"{path} is an exported program. If you trust it, convert it once: {how}")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise RunError(f"cannot read weights from {path}: it is a compressed archive; {EXPECTED}")


def _converted(loaded: str, path: Path) -> str:
    to = str(path.with_name(f"{path.stem}-weights.pt"))
    return f"""python -c "import torch; torch.save({loaded}.state_dict(), {to!r})\""""


def _classes_in(path: Path) -> list[str]:
    """What a file would have to be allowed to build; none where it is too damaged to tell."""
    try:
        return list(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # as above
        return []


def _unwrapped(content: Any, path: Path) -> WeightFile:
    if _is_state(content):
        return WeightFile(dict(content))
    held = {str(name): each for name, each in content.items() if _is_state(each)} if isinstance(content, dict) else {}
    name = next((each for each in WRAPPERS if each in held), next(iter(held), None))
    if name is None:
        keys = (
            f"a dict of {', '.join(map(str, list(content)[:5]))}"
            if isinstance(content, dict)
            else type(content).__name__
        )
        raise RunError(f"{path} holds no state dict, but {keys}; {EXPECTED}")
    others = [each for each in held if each != name]
    also = f" (and not {', '.join(others)})" if others else ""
    return WeightFile(dict(held[name]), found=f"{name!r}{also}", statistics=_statistics(content.get("args")))


def _statistics(arguments: Any) -> Statistics | None:
    """The normalisation on the command line that timm's training script keeps in its checkpoints."""
    given: list[Any] = [getattr(arguments, name, None) for name in ("mean", "std")]
    if not all(isinstance(each, list) and each and all(isinstance(value, float) for value in each) for each in given):
        return None
    return None if min(given[1]) <= 0 else (given[0], given[1])


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(name, str) and isinstance(each, Tensor) and _is_plain(each) for name, each in value.items())
    )


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has a value at each place, and no layout of its own: a small sparse one may be a large one."""
    return tensor.layout is torch.strided and not (tensor.is_nested or tensor.is_quantized or tensor.is_meta)
