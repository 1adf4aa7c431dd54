"""Adapters to the protocols of MAITE, so that its tools evaluate our models, data and attacks, and ours its data.

MAITE's protocols are of shape, not of inheritance: nothing here imports it (`pip install 'toughen[maite]'` does for
its `evaluate` and `predict`). An image is an array C x H x W in [0, 1], a target one of (K,), a batch a sequence.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from toughen.attacks.base import Attack
from toughen.data.source import ImageSet, in_unit_range
from toughen.errors import InputError
from toughen.evaluation.statistics.intervals import wilson
from toughen.models.mode import evaluating
from toughen.models.outputs import logits_in
from toughen.numbers import Number
from toughen.threat import Norm, ThreatModel, as_threat

Array = NDArray[Any]


class Metadata(TypedDict, total=False):
    """What MAITE asks of whatever takes part: an `id`; and the names of the classes, where they are known."""

    id: str
    index2label: dict[int, str]


class DatumMetadata(TypedDict):
    """What is said of one image: its place in the set."""

    id: int


class MaiteModel:
    """A network as MAITE's image-classification `Model`: images in, probabilities of the classes out.

    Args:
        network: gives logits, such as what `toughen.load` gives, whose class names are then taken.
        classes: names of the classes, in the order of the logits.
        name: the `id` in its metadata.

    >>> [probabilities] = MaiteModel(nn.Flatten())([np.zeros((3, 1, 1))])
    >>> probabilities.round(3).tolist()
    [0.3330000042915344, 0.3330000042915344, 0.3330000042915344]
    """

    def __init__(self, network: nn.Module, classes: Sequence[str] | None = None, name: str | None = None) -> None:
        self.network = network
        self.metadata = _metadata(name or type(network).__name__, classes or getattr(network, "classes", None))

    def __call__(self, batch: Sequence[ArrayLike], /) -> Sequence[Array]:
        """Probabilities of each image, (K,)."""
        with evaluating(self.network), torch.no_grad():
            logits = logits_in(self.network(_images(batch, self.network)))
        return list(logits.float().softmax(1).cpu().numpy())


class MaiteDataset:
    """An `ImageSet` as MAITE's image-classification `Dataset`; targets are one-hot.

    Args:
        images: what a data source gives, such as `Digits().load("test")`.
        first: only so many of them.
    """

    def __init__(self, images: ImageSet, first: int | None = None) -> None:
        self.images, self.count = images, min(len(images), len(images) if first is None else first)
        self.metadata = _metadata(images.name, images.classes)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> tuple[Array, Array, DatumMetadata]:
        if not 0 <= index < self.count:
            raise IndexError(f"expected a place in 0 .. {self.count - 1}, got {index}")
        images, labels = self.images.subset(torch.tensor([index]))
        return images[0].numpy(), np.eye(len(self.images.classes), dtype=np.float32)[int(labels[0])], {"id": index}


class MaiteAttack:
    """An attack as MAITE's `Augmentation`: each batch becomes what the attack makes of it; targets stay.

    `evaluate(model=..., dataset=..., metric=..., augmentation=MaiteAttack(...))` then gives robust accuracy.

    Args:
        network: the attacked one; that of the `MaiteModel` unless the attack is to transfer.
        attack: such as `PGD(steps=20)` or `AutoAttack()`.
        threat: what it may do; or `eps` and `norm`.
        seed: of its random starts; batches draw on from one to the next.
    """

    def __init__(
        self,
        network: nn.Module,
        attack: Attack,
        threat: ThreatModel | None = None,
        *,
        eps: Number | None = None,
        norm: Norm | None = None,
        seed: int = 0,
    ) -> None:
        self.network, self.attack, self.threat = network, attack, as_threat(threat, eps, norm)
        self.generator = torch.Generator(_device(network)).manual_seed(seed)
        self.metadata: Metadata = {"id": f"{type(attack).__name__} within {self.threat}"}

    def __call__(
        self, batch: tuple[Sequence[ArrayLike], Sequence[ArrayLike], Sequence[Any]], /
    ) -> tuple[Sequence[Array], Sequence[ArrayLike], Sequence[Any]]:
        """The batch with adversarial images."""
        inputs, targets, metadata = batch
        images = _images(inputs, self.network)
        found = self.attack(self.network, images, _labels(targets).to(images.device), self.threat, self.generator)
        return list(found.detach().cpu().numpy()), targets, metadata


class MaiteAccuracy:
    """Share of images that the model is right about as MAITE's `Metric`, with Wilson's interval.

    Robust accuracy where the images are adversarial.

    Args:
        confidence: of the interval, 0 to 1.
    """

    def __init__(self, confidence: float = 0.95) -> None:
        self.confidence = confidence
        self.metadata: Metadata = {"id": "accuracy"}
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self.right = self.images = 0

    def update(
        self, predictions: Sequence[ArrayLike], targets: Sequence[ArrayLike], metadata: Sequence[Any], /
    ) -> None:
        """Count a batch."""
        self.right += int((_labels(predictions) == _labels(targets)).sum())
        self.images += len(predictions)

    def compute(self) -> dict[str, float]:
        """The accuracy, its interval's ends, and the number of images.

        Raises:
            InputError: no image was counted.
        """
        low, high = wilson(self.right, self.images, self.confidence)
        share = self.right / self.images
        return {"accuracy": share, "accuracy_low": low, "accuracy_high": high, "images": float(self.images)}


def pairs(dataset: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels of a MAITE `Dataset`, for `toughen.evaluate(network, list(pairs(dataset)), eps="8/255")`."""
    for index in range(len(dataset)):
        image, target, _ = dataset[index]
        yield in_unit_range(torch.as_tensor(np.asarray(image)))[None], _labels([target])


def _metadata(name: str, classes: Sequence[str] | None) -> Metadata:
    return {"id": name} if classes is None else {"id": name, "index2label": dict(enumerate(classes))}


def _images(batch: Sequence[ArrayLike], network: nn.Module) -> Tensor:
    """A batch as a tensor on the network's device.

    Raises:
        InputError: images of several sizes.
    """
    arrays = [np.asarray(image) for image in batch]
    if len({array.shape for array in arrays}) != 1:
        shapes = sorted({" x ".join(map(str, array.shape)) for array in arrays})
        raise InputError(f"images: expected a batch of one size, got {' and '.join(shapes) or 'none'}")
    return in_unit_range(torch.as_tensor(np.stack(arrays))).float().to(_device(network))


def _labels(targets: Sequence[ArrayLike]) -> Tensor:
    return torch.tensor([int(np.asarray(target).argmax()) for target in targets])


def _device(network: nn.Module) -> torch.device:
    return next((each.device for each in (*network.parameters(), *network.buffers())), torch.device("cpu"))
