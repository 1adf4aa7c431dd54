"""SmallCNN with convolutions whose weight is computed, for figure 3: what a replica for the attack must not mistake."""

from torch import nn
from torch.nn.utils import parametrizations, prune

from toughen.models import SmallCNN


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


class SpectralNorm(SmallCNN):
    """Every convolution's weight over its largest singular value."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__(num_classes, in_channels)
        for convolution in convolutions(self):
            parametrizations.spectral_norm(convolution)


class WeightNorm(SmallCNN):
    """Every convolution's weight as a length and a direction."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__(num_classes, in_channels)
        for convolution in convolutions(self):
            parametrizations.weight_norm(convolution)


class Pruned(SmallCNN):
    """Half of every convolution's weights masked, those that are smallest at the start."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__(num_classes, in_channels)
        for convolution in convolutions(self):
            prune.l1_unstructured(convolution, "weight", 0.5)
