"""Files of a training run, without pickle: checkpoints (a JSON and a safetensors file each) and the weights."""

import json
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from toughen.errors import RunError, ToughenWarning
from toughen.methods import Method
from toughen.models.state import extra_as_text, split_state
from toughen.reading.files import read_json
from toughen.reading.schema import Amount, Count, UnfitError
from toughen.reading.tensors import read_tensors
from toughen.run import RunFolder, atomic
from toughen.run.files import remove
from toughen.run.manifest import check, recorded
from toughen.run.manifest import write as write_manifest

TENSOR = "__tensor__"


class State(TypedDict):
    """What state.json holds: a dict as pairs, as JSON's names are texts alone."""

    items: list[tuple[str, Any]]


class CostFacts(TypedDict):
    """See `Meter.state_dict`."""

    flops: dict[str, Amount]
    device_seconds: Amount


class TraceFacts(TypedDict):
    """What of `Trace.state_dict` is written out again."""

    rows: NotRequired[list[dict[str, float]]]
    followed: NotRequired[list[Any]]


class Place(TypedDict):
    """What of a run's state is no tensor: where it was."""

    epoch: Count
    batch: Count
    best: float
    seconds: Amount
    cost: CostFacts
    processes: list[dict[str, Any]]
    best_epoch: NotRequired[Count]
    flops: NotRequired[Amount]
    rows: NotRequired[list[dict[str, float]]]
    trace: NotRequired[TraceFacts]


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write nested dicts and lists of tensors and plain values. The old state stays as the one before."""
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
    with atomic(folder, keep=before(folder)) as temporary:
        temporary.mkdir()
        save_file(tensors, temporary / "tensors.safetensors")
        (temporary / "state.json").write_text(json.dumps(document))
        write_manifest(temporary)


def before(folder: Path) -> Path:
    """Where the checkpoint before the one in `folder` lies."""
    return folder.with_name("previous")


def load_state(folder: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; tensors are on the CPU.

    Where the checkpoint is damaged, the one before it is read, and a `ToughenWarning` names the damaged file.

    Raises:
        RunError: no checkpoint there, or damaged ones only.
    """
    errors = []
    for place in checkpoints(folder):
        try:
            state = load_one(place)
        except RunError as error:
            errors.append(error)
            continue
        if errors:
            warnings.warn(f"{errors[0]}: the run goes on from the one before it, {place}", ToughenWarning, stacklevel=2)
        return state
    if errors:
        raise RunError(f"{errors[0]}, and no older one is whole; start the run again with --overwrite")
    raise RunError(f"no checkpoint in {folder}: the run stopped before its first one; start it again")


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints that there are, the newest first."""
    # A kill between the two renames of `atomic` leaves only the one before; versions without it had it at `.last.old`.
    return [each for each in (folder, folder.with_name(f".{folder.name}.old"), before(folder)) if each.is_dir()]


def begun_with(folder: Path) -> dict[str, Any]:
    """What the run was begun with, from its newest whole checkpoint; nothing where that does not say it."""
    for place in checkpoints(folder):
        with suppress(RunError, OSError, UnfitError, ValueError, KeyError, TypeError):
            check(place / "state.json", "")
            begun = dict(read_json(place / "state.json", State)["items"]).get("begun")
            return {} if begun is None else _restore(begun, {})
    return {}


def drop_damaged(folder: Path) -> None:
    """Delete a damaged checkpoint, which else would take the place of the good one before it."""
    try:
        load_one(folder)
    except RunError:
        with suppress(OSError):
            remove(folder)


def load_one(folder: Path) -> dict[str, Any]:
    """Read the state in this folder; see `load_state`.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        for name in ("tensors.safetensors", "state.json"):
            check(folder / name, "it is not used")
        tensors = read_tensors(folder / "tensors.safetensors")
        state: dict[str, Any] = _restore(read_json(folder / "state.json", State), tensors)
        return state
    except (OSError, UnfitError, ValueError, KeyError, TypeError, RunError) as error:
        raise RunError(f"the checkpoint in {folder} is damaged: {error}") from error


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
    as_it_is(folder, model, auxiliary)()


def as_it_is(folder: RunFolder, model: nn.Module, auxiliary: Mapping[str, nn.Module]) -> Callable[[], None]:
    """What writes the networks as `save_model` does, with the weights that they have now."""
    places = {folder.path / f"{name}.safetensors": network for name, network in auxiliary.items()}
    found = []
    for place, network in {**places, folder.model: model}.items():
        # Copies of their own, as above: tied weights share memory. Loading fills a tie twice, equally.
        tensors = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in split_state(network)[0].items()}
        found.append((place, tensors, extra_as_text(network) or None))

    def write() -> None:
        for place, tensors, texts in found:
            with recorded(place) as path:
                save_file(tensors, path, texts)

    return write


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
