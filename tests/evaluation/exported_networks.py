"""The networks of the table: what is exported."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from toughen.models.adapters import Timm, Torchvision
from toughen.models.transformers_network import Transformers

CLASSES = ("cat", "dog", "eel", "fox")
TRUST = ["exported_networks", "code/net.py"]


class Own(nn.Module):
    """A network of one's own, with a branch that its weights decide, and a shape that the batch does."""

    def __init__(self, num_classes: int = 4, in_channels: int = 3, width: int = 8) -> None:
        super().__init__()
        self.num_classes, self.in_channels, self.width = num_classes, in_channels, width
        self.first = nn.Conv2d(in_channels, width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Linear(width * 16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        found = nn.functional.adaptive_avg_pool2d(self.norm(self.first(images)).relu(), 4)
        return self.last(found.reshape(len(images), -1))


class Undecided(Own):
    """What cannot be exported as a graph: what is computed depends on the images' values."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits = super().forward(images)
        return logits if images.mean() > 0.5 else logits.neg()


class Restless(Own):
    """Another answer each time."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return super().forward(images + 0.1 * torch.randn_like(images))


VIT = {
    **{"model_type": "vit", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 64, "patch_size": 8},
}


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "own class": Own,
    "timm CNN": partial(Timm, name="resnet10t"),
    "timm ViT": partial(
        Timm, name="vit_tiny_patch16_224", image_size=32, arguments={"patch_size": 8, "depth": 2, "embed_dim": 96}
    ),
    "timm ConvNeXt": partial(Timm, name="convnext_atto"),
    "torchvision": partial(Torchvision, name="mobilenet_v3_small"),
    "transformers": partial(Transformers, name="local", image_size=32, config=VIT),
    "undecided": Undecided,
    "restless": Restless,
}
