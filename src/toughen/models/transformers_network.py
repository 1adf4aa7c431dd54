"""Image classifiers of Hugging Face transformers."""

import math
from collections.abc import Mapping
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor, nn

from toughen.errors import InputError, ToughenError
from toughen.extras import library
from toughen.models.normalisation import Statistics
from toughen.models.published import NO_NETWORK, PublishedNetwork, within
from toughen.models.weight_files import WeightFile

_LEFT_OUT = {"transformers_version", "id2label", "label2id", "num_labels", "architectures", "dtype", "torch_dtype"}
"""What a configuration says beside the architecture."""
_RUNS_CODE = {"attn_implementation", "experts_implementation", "auto_map", "quantization_config", "use_kernels"}
"""By what a configuration would have code from elsewhere run."""


class Transformers(PublishedNetwork):
    """Any image classifier of Hugging Face transformers, by its repository, or by a folder of `save_pretrained`.

    On the command line `hf:ORG/NAME` or `hf:FOLDER`. A training starts from the weights there, unless `--init random`
    asks for new ones. The normalisation of its image processor is put in front; the last layer is new for other
    classes.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        name: a repository of the hub such as google/vit-base-patch16-224, or a folder.
        image_size: height and width of the images; position embeddings are interpolated to it.
        config: the architecture, as config.json in the repository tells it; default what is there.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        name: str,
        image_size: int | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, image_size)
        self.name = name
        self.config: dict[str, Any] = self.completed({"name": name, "config": config})["config"]
        known = {key: value for key, value in self.config.items() if not key.startswith("_") and key not in _RUNS_CODE}
        kind = str(known.pop("model_type", None))
        if kind == "timm_wrapper":
            raise InputError(f"--model hf:{name}: it is a network of timm; use --model hf-hub:{name}")
        auto: Any = library("transformers", "transformers")
        try:
            made = auto.AutoConfig.for_model(kind, **known, num_labels=num_classes)
            for setting, value in {"num_channels": in_channels, "image_size": image_size}.items():
                if value is not None and isinstance(getattr(made, setting, None), int | list | tuple):
                    setattr(made, setting, value)
            self.network: nn.Module = auto.AutoModelForImageClassification.from_config(made)
        except Exception as error:  # whatever its many constructors raise
            raise InputError(
                f"--model hf:{name}: transformers cannot build an image classifier of kind {kind!r} for images of "
                f"{in_channels} x {image_size} x {image_size}: {_line(error)}"
            ) from error

    @classmethod
    def names_weights(cls, settings: Mapping[str, Any]) -> bool:
        """A repository has them."""
        return True

    @classmethod
    def completed(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """A repository tells its architecture."""
        if settings.get("config") is not None:
            return dict(settings)
        found = _read("AutoConfig", settings["name"]).to_diff_dict()
        return {**settings, "config": {key: value for key, value in found.items() if key not in _LEFT_OUT}}

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x num_classes."""
        logits: Tensor = self.network(pixel_values=images).logits
        return logits

    def published(self) -> WeightFile:
        """The repository's weights for this size of images, under their own classes."""
        network, told = _read("AutoModelForImageClassification", self.name, output_loading_info=True)
        if getattr(network.config, "num_channels", self.in_channels) != self.in_channels:
            raise InputError(
                f"--model hf:{self.name}: its weights are for images of {network.config.num_channels} channels, the "
                f"images have {self.in_channels}; give such images, or --init random"
            )
        own = self.network.state_dict()
        state = {
            name: _resized(each, own[name].shape) if name in own and "position_embed" in name else each
            for name, each in network.state_dict().items()
            if name not in told["missing_keys"]  # a repository of a body alone: its last layer is new
        }
        names = tuple(str(network.config.id2label[index]) for index in range(network.config.num_labels))
        return WeightFile(
            within(state),
            found=f"the weights of {self.name}",
            classes=None if told["missing_keys"] or names[0] == "LABEL_0" else names,
            statistics=self._statistics(),
        )

    def _statistics(self) -> Statistics | None:
        try:
            processor = _read("AutoImageProcessor", self.name)
        except ToughenError:
            return None
        if not getattr(processor, "do_normalize", False):
            # Images from 0 to 255 where they are not rescaled either.
            scale = 1.0 if getattr(processor, "do_rescale", True) else 1 / 255
            return [0.0] * self.in_channels, [scale] * self.in_channels
        told = (processor.image_mean, processor.image_std)
        mean, std = (list(islice(cycle(values), self.in_channels)) for values in told)
        return mean, std


def _read(kind: str, name: str, **settings: Any) -> Any:
    """One of transformers' classes from a repository or folder; no code from there is run."""
    auto: Any = getattr(library("transformers", "transformers"), kind)
    try:
        return auto.from_pretrained(name, trust_remote_code=False, **settings)
    except Exception as error:  # of the hub, its client, the network, and of what is there
        raise InputError(f"--model hf:{name}: transformers cannot read it: {_line(error)}; {NO_NETWORK}") from error


def _resized(embeddings: Tensor, shape: torch.Size) -> Tensor:
    """Position embeddings, 1 x N x D, of a square grid behind some special tokens, for a grid of another size."""
    if embeddings.shape == shape or embeddings.ndim != 3 or len(shape) != 3:
        return embeddings
    special = next((n for n in range(3) if math.isqrt(embeddings.shape[1] - n) ** 2 == embeddings.shape[1] - n), 0)
    tokens, grid = embeddings[:, :special], embeddings[:, special:]
    before, after = math.isqrt(grid.shape[1]), math.isqrt(shape[1] - special)
    if before**2 != grid.shape[1] or after**2 != shape[1] - special:
        return embeddings
    grid = grid.transpose(1, 2).unflatten(2, (before, before))
    grid = nn.functional.interpolate(grid, (after, after), mode="bicubic", align_corners=False)
    return torch.cat([tokens, grid.flatten(2).transpose(1, 2)], 1)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
