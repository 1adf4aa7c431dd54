"""How far apart two images look to a network, as an ascent sees it."""

from typing import Self

import torch
from torch import Tensor, nn

from toughen.models.features import captured, unit_features


class Perceptual(nn.Module):
    """Features of a fixed network whose distances are perceptual ones.

    `||phi(x) - phi(x')||_2` with phi what `unit_features` makes of some layers, one after the other. That is the square
    root of LPIPS (Zhang et al. 2018) without learned weights, as Laidlaw et al. 2021 take it.

    Args:
        network: stays in eval mode.
        layers: full names of its layers.
    """

    def __init__(self, network: nn.Module, layers: list[str]) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.layers = layers

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """phi, N x D."""
        # A clone: the network may go on to change the output in place, and its gradient needs it as it was.
        with captured(self.network, self.layers, lambda output: unit_features(output.clone())) as found:
            self.network(images)
        return torch.cat([found[name] for name in self.layers], dim=1)


class WithDistance(nn.Module):
    """A network whose logits have one column more, how far each image looks from its clean one; N x (K + 1).

    Args:
        model: the network.
        perceptual: what looks.
        images: the clean images.
    """

    def __init__(self, model: nn.Module, perceptual: Perceptual, images: Tensor) -> None:
        super().__init__()
        self.model, self.perceptual = model, perceptual
        with torch.no_grad():
            self.clean = perceptual(images)

    def forward(self, images: Tensor) -> Tensor:
        """Logits and distance."""
        distance = torch.linalg.vector_norm(self.perceptual(images) - self.clean, dim=1, keepdim=True)
        return torch.cat([self.model(images), distance], dim=1)
