"""A model that cannot be differentiated, as gradient attacks may still call it."""

import torch
from torch import Tensor, nn


class Blind(nn.Module):
    """The same logits, with a gradient that is zero: gradient attacks run in vain, Square and transfer as ever."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        with torch.no_grad():
            logits = self.model(images)
        return logits + (0 * images).flatten(1).sum(dim=1, keepdim=True)
