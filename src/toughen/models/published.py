"""Networks of other libraries, which publish weights for them: what such a network knows beside its architecture."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from toughen.errors import InputError, did_you_mean
from toughen.models.weight_files import WeightFile
from toughen.numbers import check_number
from toughen.settings.description import arguments_of

NO_NETWORK = "published weights need a network, or the library's cache from a machine with one"


class PublishedNetwork(nn.Module, ABC):
    """A network of another library, by its name there.

    The constructor makes the architecture with new weights and never downloads them, so that a run is rebuilt from its
    folder alone; `published` reads them, when a training or an evaluation asks for them.

    Attributes:
        normalises: whether it does so by itself, and so gets no normalisation in front.
    """

    normalises = False

    def __init__(self, num_classes: int, in_channels: int, image_size: int | None) -> None:
        super().__init__()
        check_number("model.num_classes", num_classes, least=1, whole=True)
        check_number("model.in_channels", in_channels, least=1, whole=True)
        if image_size is not None:
            check_number("model.image_size", image_size, least=1, whole=True)
        self.num_classes, self.in_channels, self.image_size = num_classes, in_channels, image_size

    @classmethod
    def names_weights(cls, settings: Mapping[str, Any]) -> bool:
        """Whether these settings of the constructor name certain weights, and not an architecture alone."""
        return False

    @classmethod
    def completed(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings with what only the place tells that the weights come from, so that they need it no more."""
        return dict(settings)

    @abstractmethod
    def published(self) -> WeightFile:
        """The weights that the library has for this network, and what it knows of their classes and normalisation.

        Raises:
            InputError: there are none, or they cannot be had.
        """


def names_weights(model: Callable[..., nn.Module] | None) -> bool:
    """Whether a network that waits for its facts names weights, as `timm:resnet18.a1_in1k` does."""
    published, settings = _of(model)
    return published is not None and published.names_weights(settings)


def completed(
    model: Callable[..., nn.Module], before: Callable[..., nn.Module] | None = None
) -> Callable[..., nn.Module]:
    """The same network with what only the place of its weights tells among its settings.

    Args:
        model: any network that waits for its facts.
        before: one that was completed before; if it is from the same place, that is not read again.

    Raises:
        InputError: the place cannot be read.
    """
    published, settings = _of(model)
    if published is None:
        return model
    former, told = _of(before)
    if former is published and settings["name"] in (told["name"], told.get("source")):
        new = {name for name, value in settings.items() if value is not None} - {"name"}
        return partial(published, **{**settings, **{name: each for name, each in told.items() if name not in new}})
    return partial(published, **published.completed(settings))


def publisher(model: nn.Module) -> PublishedNetwork:
    """The network in a model that a library publishes weights for.

    Raises:
        InputError: there is none.
    """
    found = next((each for each in model.modules() if isinstance(each, PublishedNetwork)), None)
    if found is None:
        raise InputError(
            f"--init pretrained: nobody publishes weights for {type(model).__name__}; expected a network of a library, "
            "such as --model timm:resnet18, or --init with a file of weights"
        )
    return found


def within(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A library's state dict by the names that it has in a `PublishedNetwork`."""
    return {f"network.{name}": each for name, each in state.items()}


def nearest(name: str, known: list[str]) -> str:
    """The nearest name; the libraries know a thousand, too many to list."""
    return did_you_mean(name, known).partition(" Known:")[0].partition("Known:")[0] or "see the library's list_models()"


def _of(model: Callable[..., nn.Module] | None) -> tuple[type[PublishedNetwork] | None, dict[str, Any]]:
    called = model.func if isinstance(model, partial) else model
    settings = arguments_of(model) if isinstance(model, partial) else {}
    return (called if isinstance(called, type) and issubclass(called, PublishedNetwork) else None), settings
