"""Networks of timm and torchvision."""

from collections.abc import Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from toughen.errors import InputError, did_you_mean
from toughen.extras import library
from toughen.models.published import NO_NETWORK, PublishedNetwork, nearest, within
from toughen.models.weight_files import WeightFile

HUBS = ("hf-hub:", "local-dir:")
"""What timm puts before the name of a repository, and of a folder that `save_for_hf` made."""


class Timm(PublishedNetwork):
    """Any network of the timm library, by its name there.

    On the command line `timm:NAME`, and `hf-hub:ORG/NAME` for one of the Hugging Face hub. With a tag of certain
    weights (`timm:resnet18.a1_in1k`) a training starts from these, without one from new weights unless
    `--init pretrained` asks for the library's. Their normalisation is put in front, and the last layer is new for other
    classes.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        name: such as resnet18, convnext_tiny or vit_small_patch16_224; also with the tag of certain weights, such as
            resnet18.a1_in1k; or hf-hub:ORG/NAME.
        image_size: height and width of the images, for a network that is made for one size, as a ViT is; its position
            embeddings are then interpolated.
        arguments: further arguments of timm.create_model, such as drop_path_rate.
        source: where its weights come from, such as hf-hub:ORG/NAME; default timm's own place.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        name: str,
        image_size: int | None = None,
        arguments: dict[str, Any] | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, image_size)
        timm = library("timm", "timm")
        if name.startswith(HUBS):
            told = self.completed({"name": name, "arguments": arguments})
            name, arguments, source = told["name"], told["arguments"], told["source"]
        if name.partition(".")[0] not in timm.list_models():
            raise InputError(f"--model.name: unknown to timm: {name!r}; {nearest(name, timm.list_models())}")
        self.name, self.arguments, self.source = name, arguments, source
        self.network = self._created(name, num_classes=num_classes)

    @classmethod
    def names_weights(cls, settings: Mapping[str, Any]) -> bool:
        """A tag, or a repository."""
        name = settings["name"]
        return "." in name or name.startswith(HUBS) or settings.get("source") is not None

    @classmethod
    def completed(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """A repository tells its architecture."""
        source = settings["name"]
        if not source.startswith(HUBS):
            return dict(settings)
        hub: Any = library("timm.models._hub", "timm")
        place, _, path = source.partition(":")
        try:
            read = hub.load_model_config_from_hf if place == "hf-hub" else hub.load_model_config_from_path
            _, name, arguments = read(path)
        except Exception as error:  # of the hub, its client and the network
            raise InputError(f"--model {source}: cannot be read: {_line(error)}; {NO_NETWORK}") from error
        told = {key: value for key, value in (arguments or {}).items() if key not in ("num_classes", "in_chans")}
        arguments = {**told, **(settings.get("arguments") or {})} or None
        return {**settings, "name": name, "arguments": arguments, "source": source}

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x num_classes."""
        return self.network(images)

    def published(self) -> WeightFile:
        """timm's weights for this number of channels and this size of images, under its own classes."""
        network = self._created(self.source or self.name, pretrained=True)
        facts: Any = network.pretrained_cfg
        # timm repeats the weights of the three colours for further channels; so are their statistics.
        mean, std = (list(islice(cycle(facts[each]), self.in_channels)) for each in ("mean", "std"))
        tag = facts.get("tag")
        what = self.source or f"timm's {facts.get('architecture', self.name)}{f'.{tag}' if tag else ''}"
        return WeightFile(within(network.state_dict()), found=what, classes=_names(facts), statistics=(mean, std))

    def _created(self, name: str, pretrained: bool = False, **settings: Any) -> Any:
        timm = library("timm", "timm")
        size, given = self.image_size, {**(self.arguments or {}), **settings}
        try:
            facts = timm.models.get_pretrained_cfg(self.name, allow_unregistered=True)
            if size and (facts.fixed_input_size or "img_size" in given):
                given["img_size"] = size
            return timm.create_model(name, pretrained=pretrained, in_chans=self.in_channels, **given)
        except Exception as error:  # whatever a thousand constructors and the hub's client raise
            sized = f" for images of {size} x {size}" if "img_size" in given else ""
            hint = f"; {NO_NETWORK}" if pretrained else ""
            raise InputError(f"--model.name: timm cannot build {name!r}{sized}: {_line(error)}{hint}") from error


class Torchvision(PublishedNetwork):
    """Any classifier of torchvision, by its name there.

    On the command line `torchvision:NAME`. With the name of certain weights (`torchvision:resnet18.IMAGENET1K_V1`) a
    training starts from these, without one from new weights unless `--init pretrained` asks for the library's. Their
    normalisation is put in front, and the last layer is new for other classes.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images; torchvision's networks take 3.
        name: such as resnet18 or convnext_tiny.
        weights: the name of the library's weights, such as DEFAULT.
        image_size: height and width of the images, for a network that is made for one size, as a ViT is.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        name: str,
        weights: str | None = None,
        image_size: int | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, image_size)
        from torchvision import models  # here, because it takes as long as torch itself

        if name not in (known := models.list_models(module=models)):
            raise InputError(f"--model.name: unknown to torchvision: {name!r}; {nearest(name, known)}")
        if in_channels != 3:
            raise InputError(
                f"torchvision's networks take 3 channels, the images have {in_channels}; use --model timm, which "
                "takes any"
            )
        there = models.get_model_weights(name).__members__
        if weights is not None and weights not in there:
            raise InputError(
                f"--model.weights: torchvision has no {weights!r} for {name}; {did_you_mean(weights, there)}"
            )
        self.name, self.weights = name, weights
        sized = {"image_size": image_size} if image_size and name.startswith("vit_") else {}
        try:
            self.network = models.get_model(name, num_classes=num_classes, **sized)
        except AssertionError as error:
            raise InputError(
                f"--model.name: torchvision cannot build {name!r} for images of {image_size} x {image_size}: {error}"
            ) from error

    @classmethod
    def names_weights(cls, settings: Mapping[str, Any]) -> bool:
        """Weights that are named."""
        return settings.get("weights") is not None

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x num_classes."""
        return self.network(images)

    def published(self) -> WeightFile:
        """The weights that are named, or the library's best, under its own classes."""
        from torchvision import models

        chosen = models.get_model_weights(self.name)[self.weights or "DEFAULT"]
        try:
            network = models.get_model(self.name, weights=chosen)
        except OSError as error:
            raise InputError(
                f"--init pretrained: cannot download {chosen.url}: {error}; without a network, put the file into "
                f"{Path(torch.hub.get_dir()) / 'checkpoints'}"
            ) from error
        state, transform = network.state_dict(), chosen.transforms()
        if getattr(self.network, "image_size", None) != getattr(network, "image_size", None):
            from torchvision.models.vision_transformer import interpolate_embeddings

            state = interpolate_embeddings(self.network.image_size, self.network.patch_size, state)
        return WeightFile(
            within(state),
            found=f"torchvision's {self.name}.{chosen.name}",
            classes=tuple(chosen.meta["categories"]),
            statistics=(list(transform.mean), list(transform.std)),
        )


def _names(facts: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The classes of timm's weights: what their file says, or those of ImageNet by number and by words."""
    if facts.get("label_names"):
        return tuple(map(str, facts["label_names"]))
    data: Any = library("timm.data", "timm")
    subset = data.infer_imagenet_subset(facts)
    if subset is None:
        return None
    known = data.ImageNetInfo(subset)
    told = (known.index_to_label_name, known.index_to_description)
    return tuple(", ".join(of(index) for of in told) for index in range(known.num_classes()))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
