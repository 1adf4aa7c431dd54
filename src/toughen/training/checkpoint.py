"""What training writes, without pickle: checkpoints to go on from (a JSON and a safetensors file), and the weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from toughen.errors import RunError
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


def save_model(folder: RunFolder, model: nn.Module, companions: Mapping[str, nn.Module]) -> None:
    """Write model.safetensors, and `<name>.safetensors` for each of the method's other networks."""
    places = {folder.path / f"{name}.safetensors": network for name, network in companions.items()}
    for place, network in {**places, folder.model: model}.items():
        # Copies of their own, as above: tied weights share memory. Loading fills a tie twice, equally.
        tensors = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in split_state(network)[0].items()}
        with atomic(place) as path:
            save_file(tensors, path, extra_as_text(network) or None)


class GlobalRandomness:
    """The global generators' states (dropout and the like draw from them), as checkpoint state."""

    @staticmethod
    def state_dict() -> dict[str, Tensor]:
        """The states of the CPU's generator and of the current GPU's, where there is one."""
        state = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state()
        return state

    @staticmethod
    def load_state_dict(state: dict[str, Tensor]) -> None:
        """Set them."""
        torch.set_rng_state(state["cpu"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"])
