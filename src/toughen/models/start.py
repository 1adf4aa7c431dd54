"""Weights to start a training from: those of a network that was trained before, perhaps for other classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toughen.models.build import Classifier, Normalize, fill, names_in_files, within_adapter
from toughen.models.heads import fitted_head
from toughen.models.mode import evaluating
from toughen.models.normalisation import usual_statistics, written
from toughen.models.state import split_state
from toughen.models.weight_files import WeightFile, without_prefixes

_GAIN = 0.05
"""A share of the images that more are right by under another normalisation is no accident for some hundred images."""


@dataclass(frozen=True)
class Start:
    """What a model was started from.

    Attributes:
        sentences: what was done, for a person.
        same_classes: whether the last layer too has the file's weights, for every class.
    """

    sentences: list[str]
    same_classes: bool


def start_from(
    model: nn.Module,
    file: WeightFile,
    place: str,
    classes: Sequence[str] | None = None,
    *,
    keep_normalisation: bool = False,
) -> Start:
    """Load weights into a new model, but the last layer's for classes that they do not know.

    Weights that bring a normalisation put it in front of the network, unless the model's is to be kept.

    Args:
        model: the network, new; its last layer is for the classes of the data.
        file: the weights, and what is known of their classes and normalisation.
        place: where they come from, for messages.
        classes: the names of the model's classes; rows of the last layer are copied by name where both are known.
        keep_normalisation: the normalisation in front of the model was asked for.

    Raises:
        RunError: weights of another architecture.
    """
    state, prefix = without_prefixes(file.state, names_in_files(model))
    said = [f"{place}: started from {file.found or 'its weights'}"]
    if prefix:
        said[0] += f", names without {prefix!r}"
    target, state = _with_normalisation(model, within_adapter(model, state), file, place, said, keep_normalisation)
    head = fitted_head(split_state(target)[0], state, file.classes, classes)
    fill(target, {**state, **head.tensors}, file, place)
    return Start([*said, *([head.sentence] if head.sentence else [])], head.same_classes)


def _with_normalisation(
    model: nn.Module, state: dict[str, Tensor], file: WeightFile, place: str, said: list[str], keep: bool
) -> tuple[nn.Module, dict[str, Tensor]]:
    """The part of the model that the state is of, and the state with the normalisation that is to be in front."""
    ours = {"normalize.mean", "normalize.std"}
    if not isinstance(model, Classifier):
        known = file.statistics is not None
        if state.keys() == ours | {f"network.{name}" for name in split_state(model)[0]}:
            state = {name.removeprefix("network."): each for name, each in state.items() if name.startswith("network.")}
            known = True
        if known:
            said.append(f"{place}: its normalisation was left out; the model sees images as --normalize says")
        return model, state
    held = split_state(model)[0]
    if not ours <= state.keys():
        if file.statistics is None:
            return model.get_submodule("network"), state
        front = Normalize(*file.statistics).state_dict()
        state = {f"network.{name}": each for name, each in state.items()}
        state |= {f"normalize.{name}": each for name, each in front.items()}
    if keep and any(not torch.allclose(held[name], state[name], atol=1e-4) for name in ours):
        said.append(f"{place}: it was trained with --normalize {_statistics_of(state)}, which --normalize replaces")
        state |= {name: held[name] for name in ours}
    return model, state


def _statistics_of(state: Mapping[str, Tensor]) -> str:
    return written((state["normalize.mean"].flatten().tolist(), state["normalize.std"].flatten().tolist()))


def doubt_of_normalisation(model: nn.Module, images: Tensor, labels: Tensor, *, trained: bool = True) -> str | None:
    """The normalisation that a trained network seems to expect, where that is clearly another than the one in front.

    Compared by the accuracy on some images. A network that normalises by itself does best on images as they are.

    Args:
        model: with its weights, for these classes.
        images: some hundred, N x C x H x W in [0, 1].
        labels: int64, (N,).
        trained: it is known to be; else it must reach half of what guessing leaves, behind one of them, to be doubted.
    """
    network, now = model, "none"
    if isinstance(model, Classifier):
        network, chosen = model.get_submodule("network"), model.get_submodule("normalize")
        assert isinstance(chosen, Normalize)
        now = written((chosen.mean.flatten().tolist(), chosen.std.flatten().tolist()))
    channels = images.shape[1]
    candidates = {"none": ([0.0] * channels, [1.0] * channels), **usual_statistics(images)}
    before, guessed = _accuracy(model, images, labels), _guessed(labels)
    after = {
        name: _accuracy(nn.Sequential(Normalize(*each).to(images.device), network), images, labels)
        for name, each in candidates.items()
    }
    best = max(after, key=lambda name: after[name])
    if after[best] < max(before, guessed) + _GAIN or not (trained or after[best] > (1 + guessed) / 2):
        return None
    option = "none" if best == "none" else written(candidates[best])
    return (
        f"{before:.1%} of {len(images)} clean images are right with --normalize {now}, and {after[best]:.1%} with "
        f"--normalize {option} ({best}): give the one that the weights were trained with"
    )


def better_than_guessing(model: nn.Module, images: Tensor, labels: Tensor) -> bool:
    """Whether a network is right on clearly more of these images than one that always says the most frequent class."""
    return _accuracy(model, images, labels) > _guessed(labels) + _GAIN


def _guessed(labels: Tensor) -> float:
    return float(labels.bincount().max()) / len(labels)


def _accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with evaluating(model), torch.no_grad():
        right = [(model(x).argmax(1) == y).float() for x, y in zip(images.split(128), labels.split(128), strict=True)]
    return float(torch.cat(right).mean())
