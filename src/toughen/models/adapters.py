"""Networks of other libraries."""

from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toughen.errors import InputError, ToughenError, did_you_mean
from toughen.models.build import Normalize
from toughen.numbers import check_number


class Timm(nn.Module):
    """Any network of the timm library, by its name there.

    A pretrained one brings the normalisation that it was trained with.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        name: such as resnet18, convnext_tiny or vit_small_patch16_224; with `pretrained` also with the tag of certain
            weights, such as resnet18.a1_in1k.
        pretrained: load the library's weights (needs a network).
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, *, name: str, pretrained: bool = False) -> None:
        super().__init__()
        check_number("model.num_classes", num_classes, least=1, whole=True)
        check_number("model.in_channels", in_channels, least=1, whole=True)
        try:
            import timm
        except ImportError as error:
            raise ToughenError("--model timm needs its package: pip install 'toughen[timm]'") from error
        if name.partition(".")[0] not in timm.list_models():
            raise InputError(f"--model.name: unknown to timm: {name!r}; {_nearest(name, timm.list_models())}")
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.name = name
        self.pretrained = pretrained
        try:
            self.network = timm.create_model(name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels)
        except (RuntimeError, OSError) as error:
            hint = "; pretrained weights need a network, or timm's cache from a machine with one" if pretrained else ""
            raise InputError(f"--model.name: timm cannot build {name!r}: {error}{hint}") from error
        architecture, _, tag = name.partition(".")
        if tag and not pretrained:
            raise InputError(
                f"--model.name: the weights that {name!r} names by {tag!r} are not loaded, it begins from scratch; "
                f"give {architecture!r}, or --model.pretrained true with it"
            )
        if pretrained:
            settings: Any = self.network.pretrained_cfg
            # timm repeats the weights of the three colours for further channels; so are their statistics.
            mean, std = (list(islice(cycle(settings[name]), in_channels)) for name in ("mean", "std"))
            self.normalize = Normalize(mean, std)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x num_classes."""
        return self.network(self.normalize(images) if self.pretrained else images)


class Torchvision(nn.Module):
    """Any classifier of torchvision, by its name there.

    A pretrained one brings the normalisation that it was trained with, and a new last layer where the number of classes
    differs.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images; torchvision's networks take 3.
        name: such as resnet18 or convnext_tiny.
        weights: the name of the library's weights, such as DEFAULT (needs a network).
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, *, name: str, weights: str | None = None) -> None:
        super().__init__()
        check_number("model.num_classes", num_classes, least=1, whole=True)
        check_number("model.in_channels", in_channels, least=1, whole=True)
        import torchvision  # here, because it takes as long as torch itself

        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            raise InputError(f"--model.name: unknown to torchvision: {name!r}; {_nearest(name, known)}")
        if in_channels != 3:
            raise InputError(
                f"torchvision's networks take 3 channels, the images have {in_channels}; use --model timm, which "
                "takes any"
            )
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.name = name
        self.weights = weights
        if weights is None:
            self.network = torchvision.models.get_model(name, num_classes=num_classes)
        else:
            there = torchvision.models.get_model_weights(name).__members__
            if weights not in there:
                raise InputError(
                    f"--model.weights: torchvision has no {weights!r} for {name}; {did_you_mean(weights, there)}"
                )
            chosen = there[weights]
            try:
                self.network = torchvision.models.get_model(name, weights=chosen)
            except OSError as error:
                raise InputError(
                    f"--model.weights: cannot download {chosen.url}: {error}; without a network, put the file into "
                    f"{Path(torch.hub.get_dir()) / 'checkpoints'}"
                ) from error
            if len(chosen.meta["categories"]) != num_classes:
                _replace_last_linear(self.network, num_classes)
            transform = chosen.transforms()
            self.normalize = Normalize(transform.mean, transform.std)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x num_classes."""
        return self.network(images if self.weights is None else self.normalize(images))


def _nearest(name: str, known: list[str]) -> str:
    """The nearest name; the libraries know a thousand, too many to list."""
    return did_you_mean(name, known).partition(" Known:")[0].partition("Known:")[0] or "see the library's list_models()"


def _replace_last_linear(network: nn.Module, num_classes: int) -> None:
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise InputError(
            f"--model.weights: {type(network).__name__} ends in no linear layer that could be made anew for "
            f"{num_classes} classes; use another network, or no weights"
        )
    name, layer = layers[-1]
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Linear(layer.in_features, num_classes))
