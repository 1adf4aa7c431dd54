"""Statistics that networks are trained with: the usual ones, and those that a person writes down."""

from collections.abc import Sequence

from torch import Tensor

from toughen.errors import InputError
from toughen.numbers import check_number

Statistics = tuple[list[float], list[float]]
"""Mean and standard deviation of each channel, in [0, 1] units."""
_USUAL: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "values from 0 to 255": ((0.0,), (1 / 255,)),
    "values from -1 to 1": ((0.5,), (0.5,)),
    "ImageNet's mean and deviation": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10's mean and deviation": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "MNIST's mean and deviation": ((0.1307,), (0.3081,)),
}
_SUCH = "0.485,0.456,0.406/0.229,0.224,0.225"


def usual_statistics(images: Tensor) -> dict[str, Statistics]:
    """What weights are usually trained with, for images of so many channels; last the images' own.

    Args:
        images: N x C x H x W in [0, 1].
    """
    channels = images.shape[1]
    found: dict[str, Statistics] = {
        name: (_repeated(mean, channels), _repeated(std, channels))
        for name, (mean, std) in _USUAL.items()
        if len(mean) in (1, channels)
    }
    own = images.mean(dim=(0, 2, 3)).tolist(), images.std(dim=(0, 2, 3)).clamp_min(1e-3).tolist()
    return found | {"the data's own mean and deviation": own}


def read_statistics(text: str, channels: int) -> Statistics:
    """Statistics as written on the command line: means, a slash, deviations; one value stands for all channels.

    Raises:
        InputError: not so many numbers, or a deviation that is not positive.

    >>> read_statistics("0.5/0.25", 3)
    ([0.5, 0.5, 0.5], [0.25, 0.25, 0.25])
    """
    try:
        mean, std = ([float(number) for number in part.split(",")] for part in text.split("/"))
    except ValueError as error:
        raise InputError(
            f"--normalize: expected statistics such as {_SUCH}, none, or true for the data's own, got {text!r}"
        ) from error
    for values in (mean, std):
        if len(values) not in (1, channels):
            raise InputError(
                f"--normalize: expected a value for each of {channels} channels, got {len(values)}: {text}"
            )
    for value in mean:
        check_number("--normalize: a mean", value, such="0.485")
    for value in std:
        check_number("--normalize: a deviation", value, above=0, such="0.229")
    return _repeated(mean, channels), _repeated(std, channels)


def written(statistics: Statistics) -> str:
    """As `read_statistics` reads them.

    >>> written(([0.5], [0.25]))
    '0.5/0.25'
    """
    return "/".join(",".join(f"{value:.4g}" for value in values) for values in statistics)


def _repeated(values: Sequence[float], channels: int) -> list[float]:
    return list(values) * (channels // len(values))
