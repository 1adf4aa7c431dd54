"""Files of a training run, without pickle: checkpoints (a JSON and a safetensors file each) and the weights."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from toughen.errors import RunError, ToughenWarning
from toughen.methods import Method
from toughen.models.state import extra_as_text, split_state
from toughen.run import RunFolder, atomic

TENSOR = "__tensor__"


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write nested dicts and lists of tensors and plain values. The old state stays until the new one is complete."""
    tensors: dict[str, Tensor] = {}

    def plain(value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            # A copy of its own: safetensors refuses tensors that share memory.
            tensors[path] = value.detach().to("cpu", copy=True).contiguous()
            return {TENSOR: path}
        if isinstance(value, dict):
            return {"items": [[key, plain(item, f"{path}/{key}")] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            return [plain(item, f"{path}/{i}") for i, item in enumerate(value)]
        return value

    document = plain(state, "")
    with atomic(folder) as temporary:
        temporary.mkdir()
        save_file(tensors, temporary / "tensors.safetensors")
        (temporary / "state.json").write_text(json.dumps(document))


def load_state(folder: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; tensors are on the CPU.

    Raises:
        RunError: no checkpoint there, or a damaged one.
    """
    # A kill between the two renames that replace a folder leaves the old one under this name.
    old = folder.with_name(f".{folder.name}.old")
    folder = old if old.is_dir() and not folder.exists() else folder
    try:
        tensors = load_file(folder / "tensors.safetensors")
        document = json.loads((folder / "state.json").read_text())
        return _restore(document, tensors)
    except FileNotFoundError as error:
        raise RunError(f"no checkpoint in {folder}: the run stopped before its first one; start it again") from error
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"the checkpoint in {folder} is damaged: {error}; start the run again with --overwrite"
        ) from error


def _restore(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if TENSOR in value:
            return tensors[value[TENSOR]]
        return {key: _restore(item, tensors) for key, item in value["items"]}
    if isinstance(value, list):
        return [_restore(item, tensors) for item in value]
    return value


def save_model(folder: RunFolder, model: nn.Module, auxiliary: Mapping[str, nn.Module]) -> None:
    """Write model.safetensors, and `<name>.safetensors` for each of the method's other networks."""
    places = {folder.path / f"{name}.safetensors": network for name, network in auxiliary.items()}
    for place, network in {**places, folder.model: model}.items():
        # Copies of their own, as above: tied weights share memory. Loading fills a tie twice, equally.
        tensors = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in split_state(network)[0].items()}
        with atomic(place) as path:
            save_file(tensors, path, extra_as_text(network) or None)


class OwnState:
    """State that each process has for itself: random numbers, and buffers that differ between processes after a step.

    Args:
        generators: those of the run, by name; dropout and the like draw from torch's global ones, which are saved too.
        buffers: BatchNorm's statistics of the process's own images and the like, by name.
    """

    def __init__(self, generators: dict[str, torch.Generator], buffers: dict[str, Tensor]) -> None:
        self.generators, self.buffers = generators, buffers

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint, on the CPU."""
        everywhere = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            everywhere["cuda"] = torch.cuda.get_rng_state()
        return {
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "global": everywhere,
            "buffers": {name: buffer.cpu() for name, buffer in self.buffers.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint; a warning says where another kind of device draws other numbers."""
        torch.set_rng_state(state["global"]["cpu"])
        if "cuda" in state["global"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["global"]["cuda"])
        for name, buffer in self.buffers.items():
            if name in state["buffers"]:
                buffer.copy_(state["buffers"][name])
        for name, generator in self.generators.items():
            try:
                generator.set_state(state["generators"][name])
            except RuntimeError:  # the state of another kind of generator
                warn_of_other_numbers(f"the run goes on on another kind of device, {generator.device}")


def own_buffers(model: nn.Module, method: Method) -> dict[str, Tensor]:
    """The buffers that each of several processes has for itself; the method's memories are not among them."""
    of_method = {name: buffer for name, buffer in method.named_buffers() if name not in method.memories}
    both = {"model": dict(model.named_buffers()), "method": of_method}
    return {f"{part}.{name}": buffer for part, buffers in both.items() for name, buffer in buffers.items()}


def warn_of_other_numbers(why: str) -> None:
    """Warn that a resumed run draws other random numbers than one without a pause."""
    said = f"{why}: its random numbers from here on are not those of a run without a pause"
    warnings.warn(said, ToughenWarning, stacklevel=3)
