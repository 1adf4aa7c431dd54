"""From a network's class and settings to a classifier of [0, 1] images, and back from its saved weights."""

import inspect
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toughen.errors import InputError, RunError, ToughenWarning
from toughen.hardware.speed import FlopCounter
from toughen.models.mode import evaluating
from toughen.models.normalisation import read_statistics
from toughen.models.outputs import hint, kind
from toughen.models.state import split_state
from toughen.models.weight_files import WeightFile, read_weights, without_prefixes
from toughen.reading.files import from_json, readable
from toughen.settings.description import arguments_of, path_of
from toughen.settings.size import check_size
from toughen.settings.trust import is_known


class Normalize(nn.Module):
    """`(x - mean) / std` per channel, with the statistics saved among the weights.

    Args:
        mean: one value a channel, in [0, 1] units.
        std: one positive value a channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images, same shape."""
        return (images - self.mean) / self.std


class Classifier(nn.Sequential):
    """A network behind its input normalisation: images in [0, 1] in, logits out."""

    def __init__(self, normalize: Normalize, network: nn.Module) -> None:
        super().__init__(OrderedDict(normalize=normalize, network=network))


def with_facts(
    network: Callable[..., nn.Module], num_classes: int, in_channels: int, image_size: int | None = None
) -> partial[nn.Module]:
    """`network` with the data's facts filled in where its constructor takes them (timm's `in_chans` too).

    The height and width of square images, `image_size`, is filled in where none is given.

    Raises:
        InputError: another number of classes or channels was asked for.
    """
    given = arguments_of(network) if isinstance(network, partial) else {}
    function = network.func if isinstance(network, partial) else network
    accepted = inspect.signature(function).parameters
    facts = {"num_classes": num_classes, "in_channels": in_channels, "in_chans": in_channels}
    taken = {name: fact for name, fact in facts.items() if name in accepted}
    size = accepted.get("image_size")
    if image_size is not None and size is not None and not isinstance(size.default, tuple | list):
        taken["image_size"] = given.get("image_size") or image_size
    for name, fact in taken.items():
        if given.get(name, fact) != fact:
            what = "classes" if name == "num_classes" else "channels"
            raise InputError(
                f"--model.{name}: the data have {fact} {what}, got {given[name]}; leave it out (the data tell it), or "
                "give other data"
            )
    return partial(function, **{**given, **taken})


def build_model(
    network: Callable[..., nn.Module],
    *,
    num_classes: int,
    in_channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    normalize: bool | str = True,
    image_size: int | None = None,
) -> nn.Module:
    """A classifier from a network's class, or a `partial` of it with settings.

    A network that normalises by itself (holds a `Normalize`) stays as it is; any other gets one in front, of `mean` and
    `std` or what `normalize` says in their place (see `read_statistics`), unless that is false or "none": it then sees
    the images as they are.

    Raises:
        InputError: the class cannot be built with these settings.
    """
    factory = with_facts(network, num_classes, in_channels, image_size)
    check_size(factory.func, factory.keywords)
    try:
        built = factory()
    except (TypeError, RuntimeError, MemoryError, OverflowError) as error:
        if not isinstance(error, TypeError) and not is_known(path_of(factory.func)):
            raise  # the user's own class: where it failed, only its traceback tells
        raise InputError(f"--model {path_of(factory.func)} cannot be built with {factory.keywords}: {error}") from error
    if normalize in (False, "none") or _normalises(built):
        return built
    statistics = (mean, std) if normalize is True else read_statistics(str(normalize), in_channels)
    return Classifier(Normalize(*statistics), built)


def _normalises(network: nn.Module) -> bool:
    """Whether a network is known to normalise its images by itself."""
    return any(isinstance(part, Normalize) or getattr(part, "normalises", False) is True for part in network.modules())


def behind(network: nn.Module, normalize: str, channels: int) -> nn.Module:
    """A network that has no normalisation of ours behind what `normalize` says; see `read_statistics`.

    Raises:
        InputError: it has one; the text does not say one.
    """
    if _normalises(network):
        raise InputError(f"--normalize {normalize}: the network has a normalisation of its own; leave it out")
    return network if normalize == "none" else Classifier(Normalize(*read_statistics(normalize, channels)), network)


def check_outputs(model: nn.Module, images: Tensor, num_classes: int) -> Tensor:
    """Logits of a few images, after a check that they are what a classifier of these classes gives.

    Raises:
        InputError: the model cannot take the images, or its outputs are not N x num_classes.
    """
    try:
        with evaluating(model), torch.no_grad():
            logits = model(images)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        shape = " x ".join(map(str, images.shape[1:]))
        raise InputError(f"the model cannot take images of {shape} (C x H x W): {error}") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] != num_classes:
        raise InputError(
            f"the model's output is {kind(logits)}, expected ({len(images)}, {num_classes}): one logit for each of the "
            f"data's {num_classes} classes; {hint(logits, num_classes)}"
        )
    return logits


def forward_flops(model: nn.Module, images: Tensor, num_classes: int) -> float:
    """FLOPs of a forward pass on one image, counted on these.

    Raises:
        InputError: as `check_outputs`.
    """
    with FlopCounter() as counter:
        check_outputs(model, images, num_classes)
    return counter.flops / len(images)


def looks_like_probabilities(outputs: Tensor) -> bool:
    """Whether every row is non-negative and sums to one, as after a softmax."""
    sums_to_one = torch.allclose(
        outputs.sum(1), torch.ones(len(outputs), device=outputs.device, dtype=outputs.dtype), atol=1e-3
    )
    return bool((outputs >= 0).all()) and sums_to_one


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """Load a file of weights into `model`, with our normalisation in front of it where the file has one, else without.

    Which of the three it is, the names of the file's tensors say: a network may have a `normalize` of its own. Returns
    the model that the weights belong to. What a checkpoint keeps beside its state dict, and what wrappers such as
    DataParallel put before the names, is left out, and a `ToughenWarning` says so.

    Raises:
        RunError: a file that cannot be read (see `read_weights`), or weights of another architecture (naming the first
            differences).
    """
    file = read_weights(path)
    state, prefix = without_prefixes(file.state, names_in_files(model))
    state = within_adapter(model, state)
    model = _as_saved(model, state)
    if file.statistics is not None and not any(isinstance(part, Normalize) for part in model.modules()):
        state = {f"network.{name}": each for name, each in state.items()}
        model = Classifier(Normalize(*file.statistics), model)
        state |= {name: each for name, each in model.state_dict().items() if name.startswith("normalize.")}
    fill(model, state, file, path)
    if file.found or prefix:
        taken = [f"its {file.found}"] * bool(file.found) + [f"names without {prefix!r}"] * bool(prefix)
        warnings.warn(f"{path}: loaded {', '.join(taken)}", ToughenWarning, stacklevel=2)
    return model


def fill(model: nn.Module, state: Mapping[str, Tensor], file: WeightFile, path: Path | str) -> None:
    """Give a model the tensors of a state, and what else the file keeps of it.

    Raises:
        RunError: names or shapes are not the model's (naming the first differences); the model stays as it was.
    """
    tensors, rest = split_state(model)
    # Files of before PyTorch 0.4 do not count BatchNorm's batches.
    counts = {name: each for name, each in tensors.items() if name.endswith("num_batches_tracked")}
    state = {**counts, **state}
    expected = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if expected != found:
        names = sorted(expected.keys() | found.keys())
        differing = [name for name in names if expected.get(name) != found.get(name)]
        lines = [f"  {name}: model {expected.get(name, '-')}, file {found.get(name, '-')}" for name in differing[:3]]
        raise RunError(
            f"{path} holds weights of another architecture: {len(differing)} of {len(names)} tensors differ\n"
            + "\n".join(lines)
            + "\nGive the --model (with its settings) that the weights were saved from."
        )
    # A file from elsewhere has no such texts: then the network keeps what it has.
    with readable(path, "save the weights again"):
        said = {name: from_json(file.texts[name], Any) for name in rest if name in file.texts}
    try:
        model.load_state_dict({**rest, **said, **state})
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:  # its own set_extra_state
        raise RunError(f"{path}: the network does not take its state: {error}; save the weights again") from error


def names_in_files(model: nn.Module) -> set[str]:
    """The names that a file may have for a model's tensors: with our normalisation in front, and without."""
    names = set(split_state(model)[0])
    own = {name.removeprefix("network.") for name in names} if isinstance(model, Classifier) else set()
    librarys = {name.removeprefix("network.") for name in own or names}
    return names | own | librarys | {f"network.{name}" for name in names} | {"normalize.mean", "normalize.std"}


def within_adapter(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state under the model's names, where it is of a library's network and the model is our adapter around that."""
    network = model.get_submodule("network") if isinstance(model, Classifier) else model
    names = split_state(network)[0].keys()
    within = {f"network.{name}": tensor for name, tensor in state.items()}
    return within if within.keys() & names and not state.keys() & names else dict(state)


def _as_saved(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """`model`, the network in it, or our normalisation and it: what has the names of a state."""
    ours = {"normalize.mean", "normalize.std"}
    names = set(split_state(model)[0])
    if state.keys() == names:
        return model
    if isinstance(model, Classifier):
        network = model.get_submodule("network")
        bare = state.keys() == set(split_state(network)[0])
        # Neither fits: the message that follows names the differences from what was probably meant.
        return network if bare or not ours <= state.keys() else model
    others = state.keys() - ours
    wrapped = ours <= state.keys() and all(name.startswith("network.") for name in others)
    if not wrapped or state["normalize.mean"].ndim != 4 or any(isinstance(part, Normalize) for part in model.modules()):
        return model
    # The statistics are among the weights: these values only give them their shape.
    channels = state["normalize.mean"].shape[1]
    return Classifier(Normalize([0.0] * channels, [1.0] * channels), model)


PROBABILITIES = (
    "the model's outputs look like probabilities: attacks need logits, and the robust accuracy may be "
    "overestimated; remove the softmax at the model's end"
)
