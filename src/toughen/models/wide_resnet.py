"""Wide residual networks."""

import torch.nn.functional as F
from torch import Tensor, nn

from toughen.errors import InputError
from toughen.models.initialise import initialise
from toughen.numbers import check_number


class WideBlock(nn.Module):
    """Pre-activation block with dropout between its convolutions (Zagoruyko & Komodakis 2016)."""

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if in_channels != channels:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the block."""
        activated = F.relu(self.bn1(x))
        identity = x if self.shortcut is None else self.shortcut(activated)
        return self.conv2(self.dropout(F.relu(self.bn2(self.conv1(activated))))) + identity


class WideResNet(nn.Module):
    """Wide ResNet for small images, WRN-depth-width: 34-10 (46.2 M parameters) or 28-10 (36.5 M).

    Layers: conv1, layer1 .. layer3, bn, fc.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        depth: number of convolutions on the longest path, 6 n + 4.
        width: how many times wider than a plain ResNet's 16, 32 and 64 channels.
        dropout: share of features dropped between a block's convolutions, 0 to below 1.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        depth: int = 34,
        width: int = 10,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_number("model.num_classes", num_classes, least=1, whole=True)
        check_number("model.in_channels", in_channels, least=1, whole=True)
        check_number("model.width", width, least=1, whole=True)
        check_number("model.dropout", dropout, "a share", least=0, below=1)
        if depth < 10 or (depth - 4) % 6:
            raise InputError(f"model.depth: expected 6 n + 4, such as 10, 16, 28 or 34, got {depth}")
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.depth = depth
        self.width = width
        self.dropout = dropout
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.layer1 = _stage(blocks, 16, 16 * width, 1, dropout)
        self.layer2 = _stage(blocks, 16 * width, 32 * width, 2, dropout)
        self.layer3 = _stage(blocks, 32 * width, 64 * width, 2, dropout)
        self.bn = nn.BatchNorm2d(64 * width)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64 * width, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x num_classes."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(images))))
        return self.fc(self.avgpool(F.relu(self.bn(x))).flatten(1))


def _stage(blocks: int, in_channels: int, channels: int, stride: int, dropout: float) -> nn.Sequential:
    first = WideBlock(in_channels, channels, stride, dropout)
    return nn.Sequential(first, *(WideBlock(channels, channels, 1, dropout) for _ in range(blocks - 1)))
