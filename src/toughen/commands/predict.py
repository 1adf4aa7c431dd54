"""What a run's network says of image files."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from toughen.contracts import check_arguments
from toughen.data.decode import MODES, decode
from toughen.data.kinds import IMAGES, is_image, listed, visible_files
from toughen.errors import DataError, InputError, ToughenWarning
from toughen.exports.images import shape_of_images
from toughen.hardware.device import find_device
from toughen.models.inference import NO_PREDICTION, classify, frozen
from toughen.models.load import LoadedClassifier, load
from toughen.run.hub import run_folder
from toughen.settings.trust import obeying_trust

_AT_ONCE = 64


@dataclass(frozen=True)
class Prediction:
    """One image's.

    Attributes:
        path: its file.
        label: the most likely class's name; its number as text where the run keeps no names.
        probability: the softmax probability of it.
    """

    path: str
    label: str
    probability: float


@obeying_trust
def predict(
    run: str, images: list[str], *, skip_bad: bool = False, device: str = "cpu", trust: Sequence[str] = ()
) -> list[Prediction]:
    """Say the class of each image, and how sure the network is.

    An image is brought to the size of the training's: the shorter side resized, the middle cut out. The probability is
    the network's own; under attack it means nothing.

    Args:
        run: the run's folder, a file of `toughen export --format safetensors`, or hf:ORG/NAME on the hub.
        images: image files, and folders of them.
        skip_bad: leave out files that cannot be read, and say which.
        device: cpu, cuda, cuda:1, or auto.
        trust: what the run's files may name beside this package's classes and its libraries' networks, such as
            my_package.Net or my_package; their code is run.

    Returns:
        list[Prediction]: one an image, in the order given; those of a folder by name.

    Raises:
        RunError: no such run, or one that does not say what images its network takes.
        DataError: files that are missing or no images, all that cannot be read at once.
    """
    images = [images] if isinstance(images, str | Path) else images
    check_arguments(predict, {"run": run, "device": device})
    classifier = load(run, trust=trust)
    shape = classifier.shape or shape_of_images(classifier, run_folder(run))
    place, found, bad = find_device(device), list[Prediction](), list[DataError]()
    with frozen(classifier, place) as network:
        paths = [path for given in images for path in _files(str(given))]
        for first in range(0, len(paths), _AT_ONCE):
            read: list[tuple[str, Tensor]] = []
            for path in paths[first : first + _AT_ONCE]:
                try:
                    read.append((path, _pixels(path, shape)))
                except DataError as error:
                    bad.append(error)
            if not read:
                continue
            some, pixels = zip(*read, strict=True)
            labels, sure = (each.tolist() for each in classify(network, torch.stack(pixels).to(place)))
            names = [_name(classifier, label) for label in labels]
            found += [Prediction(*each) for each in zip(some, names, sure, strict=True)]
    _say(bad, skip_bad and bool(found))
    return found


def _say(bad: Sequence[DataError], left_out: bool) -> None:
    """Raise where files cannot be read, or warn where they are left out."""
    if not bad:
        return
    text = str(bad[0]) if len(bad) == 1 else listed(f"{len(bad):,} images that cannot be read", bad)
    if not left_out:
        raise DataError(f"{text}\n--skip_bad true leaves out what cannot be read" if len(bad) > 1 else text)
    warnings.warn(f"left out: {text}", ToughenWarning, stacklevel=3)


def _files(given: str) -> list[str]:
    """A file, or the images in a folder and its subfolders."""
    path = Path(given).expanduser()
    if path.is_dir():
        found = [each for each in visible_files(path) if is_image(each)]
        if not found:
            raise DataError(f"{path} has no image; expected files ending in {', '.join(IMAGES)}")
        return found
    if not path.is_file():
        raise DataError(f"no file or folder at {path}; expected an image, or a folder of images")
    return [str(path)]


def _pixels(path: str, shape: tuple[int, int, int]) -> Tensor:
    """C x H x W in [0, 1]."""
    channels, height, width = shape
    if channels not in MODES:
        raise InputError(f"the network takes images of {channels} channels; those of files have 1 or 3")
    with Path(path).open("rb") as file:
        decoded = decode(file, path, channels, height if height == width else None)
    pixels = torch.from_numpy(decoded.copy())
    if pixels.shape[:2] != (height, width):
        came = f"{pixels.shape[0]} x {pixels.shape[1]}"
        raise DataError(f"{path}: expected an image of {height} x {width} (height, width), got {came}; resize it")
    return pixels.permute(2, 0, 1).float() / 255


def _name(classifier: LoadedClassifier, label: int) -> str:
    if label == NO_PREDICTION:
        return "nothing (NaN)"
    return str(label) if classifier.classes is None else classifier.classes[label]
