"""Weights to start a training from: those of a network that was trained before, perhaps for other classes."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from toughen.models.build import Classifier, Normalize, fill, names_in_files
from toughen.models.mode import evaluating
from toughen.models.normalisation import usual_statistics, written
from toughen.models.state import split_state
from toughen.models.weight_files import read_weights, without_prefixes

_GAIN = 0.05
"""A share of the images that more are right by under another normalisation is no accident for some hundred images."""


@dataclass(frozen=True)
class Start:
    """What a model was started from.

    Attributes:
        sentences: what was done, for a person.
        same_classes: whether the last layer too has the file's weights.
    """

    sentences: list[str]
    same_classes: bool


def start_from(model: nn.Module, path: Path) -> Start:
    """Load a file of weights into a new model; the last layer stays new where the file's is for other classes.

    A file saved with our normalisation in front brings its statistics; else the model's stay.

    Raises:
        RunError: a file that cannot be read (see `read_weights`), or weights of another architecture.
    """
    file = read_weights(path)
    state, prefix = without_prefixes(file.state, names_in_files(model))
    said = [f"{path}: started from {file.found or 'its weights'}"]
    if prefix:
        said[0] += f", names without {prefix!r}"
    target = model
    if isinstance(model, Classifier) and not {"normalize.mean", "normalize.std"} <= state.keys():
        target = model.get_submodule("network")
    elif not isinstance(model, Classifier) and state.keys() == {"normalize.mean", "normalize.std"} | {
        f"network.{name}" for name in split_state(model)[0]
    }:
        state = {name.removeprefix("network."): each for name, each in state.items() if name.startswith("network.")}
        said.append(f"{path}: its normalisation was left out; the model sees images as --normalize says")
    tensors, _ = split_state(target)
    new = _last_layer(tensors, state)
    classes = {len(state[name]) for name in new}
    fill(target, {**state, **{name: tensors[name] for name in new}}, file, path)
    if new:
        said.append(f"the last layer ({', '.join(new)}) is new: the file's is for {classes.pop()} classes")
    return Start(said, not new)


def doubt_of_normalisation(model: nn.Module, images: Tensor, labels: Tensor) -> str | None:
    """The normalisation that a trained network seems to expect, where that is clearly another than the one in front.

    Compared by the accuracy on some images. A network that normalises by itself does best on images as they are.

    Args:
        model: with its weights, and trained for these classes.
        images: some hundred, N x C x H x W in [0, 1].
        labels: int64, (N,).
    """
    network, now = model, "none"
    if isinstance(model, Classifier):
        network, chosen = model.get_submodule("network"), model.get_submodule("normalize")
        assert isinstance(chosen, Normalize)
        now = written((chosen.mean.flatten().tolist(), chosen.std.flatten().tolist()))
    channels = images.shape[1]
    candidates = {"none": ([0.0] * channels, [1.0] * channels), **usual_statistics(images)}
    before = _accuracy(model, images, labels)
    after = {
        name: _accuracy(nn.Sequential(Normalize(*each).to(images.device), network), images, labels)
        for name, each in candidates.items()
    }
    best = max(after, key=lambda name: after[name])
    if after[best] < before + _GAIN:
        return None
    option = "none" if best == "none" else written(candidates[best])
    return (
        f"{before:.1%} of {len(images)} clean images are right with --normalize {now}, and {after[best]:.1%} with "
        f"--normalize {option} ({best}): give the one that the weights were trained with"
    )


def _accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with evaluating(model), torch.no_grad():
        right = [(model(x).argmax(1) == y).float() for x, y in zip(images.split(128), labels.split(128), strict=True)]
    return float(torch.cat(right).mean())


def _last_layer(tensors: dict[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    """The tensors of one layer that differ in their number of classes alone; none where more differs than that."""
    other = [name for name, each in tensors.items() if name in state and state[name].shape != each.shape]
    layers = {name.rpartition(".")[0] for name in other}
    only_classes = all(state[name].shape[1:] == tensors[name].shape[1:] for name in other)
    return other if len(layers) == 1 and only_classes else []
