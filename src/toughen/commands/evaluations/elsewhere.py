"""The network of an evaluation that no run describes: by its name or class, with the weights that somebody trained."""

import warnings
from collections.abc import Callable
from pathlib import Path

from torch import nn

from toughen.commands.images.of_run import told_by_images
from toughen.data.source import ImageSet
from toughen.errors import InputError, ToughenWarning
from toughen.models.build import behind, build_model, with_facts
from toughen.models.load import with_weights
from toughen.models.published import completed, names_weights, publisher
from toughen.models.start import start_from
from toughen.models.state import copied


def weights_of(model: Callable[..., nn.Module] | None, weights: str | None) -> str | None:
    """What is to be loaded: a file, `pretrained` for what the network's library publishes, or nothing."""
    return "pretrained" if weights is None and names_weights(model) else weights


def settled(model: Callable[..., nn.Module], images: ImageSet) -> Callable[..., nn.Module]:
    """The network with what the images tell, and the place of its weights."""
    return model if isinstance(model, nn.Module) else with_facts(completed(model), **told_by_images(images))


def network_from(
    model: Callable[..., nn.Module], weights: str | None, normalize: str | None, images: ImageSet
) -> nn.Module:
    """The network with its weights, behind the normalisation that they or the user bring.

    Args:
        model: with the images' facts; see `settled`.
        weights: see `weights_of`.
        normalize: the normalisation in front of weights that bring none; None: what is known of them.
        images: those that are attacked; published weights are matched with their classes by name.

    Raises:
        InputError: published weights are for other classes, or a second normalisation was asked for.
        RunError: a file that cannot be read, or weights of another architecture.
    """
    if weights == "pretrained":
        return _pretrained(model, normalize, images)
    network = copied(model) if isinstance(model, nn.Module) else _bare(model, images)
    network = network if weights is None else with_weights(network, Path(weights))
    return network if normalize is None else behind(network, normalize, images.shape[0])


def _bare(model: Callable[..., nn.Module], images: ImageSet, normalize: bool | str = "none") -> nn.Module:
    channels = images.shape[0]
    zeros, ones = [0.0] * channels, [1.0] * channels
    return build_model(model, **told_by_images(images), mean=zeros, std=ones, normalize=normalize)


def _pretrained(model: Callable[..., nn.Module], normalize: str | None, images: ImageSet) -> nn.Module:
    network = _bare(model, images, normalize or True)
    said = start_from(
        network,
        publisher(network).published(),
        "--weights pretrained",
        images.classes,
        keep_normalisation=normalize is not None,
    )
    if not said.same_classes:
        raise InputError(
            f"{'; '.join(said.sentences)}. Nothing trained is left for them: give images of the weights' classes, in "
            "folders of their names, or train the network on yours"
        )
    for text in said.sentences:
        warnings.warn(text, ToughenWarning, stacklevel=3)
    return network.eval()
