"""ResNet-18 for small images."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from toughen.errors import InputError
from toughen.models.initialise import initialise
from toughen.numbers import check_number


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions, each followed by BatchNorm, around a shortcut (He et al. 2016)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Features of the block."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class ResNet18(nn.Module):
    """ResNet-18 with the stem for small images (CIFAR): 3 x 3, stride 1, no pooling; 11.17 M parameters at width 64.

    Layers are called as in torchvision; `layer4` is the last stage.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        width: channels of the first stage; the stages have 1, 2, 4 and 8 times as many.
        strides: a stage each; 1, 1, 2, 2 is the guide of LBGAT's and D2R's code, with as many parameters and
            3.2 times the cost.

    Raises:
        InputError: not four strides of at least 1.
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, *, width: int = 64, strides: Sequence[int] = (1, 2, 2, 2)
    ) -> None:
        super().__init__()
        check_number("model.num_classes", num_classes, least=1, whole=True)
        check_number("model.in_channels", in_channels, least=1, whole=True)
        check_number("model.width", width, least=1, whole=True)
        if len(strides) != 4:
            raise InputError(f"model.strides: expected four numbers such as 1, 2, 2, 2, got {strides}")
        for stride in strides:
            check_number("model.strides", stride, least=1, whole=True)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.width = width
        self.strides = tuple(strides)
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, strides[0])
        self.layer2 = _stage(width, 2 * width, strides[1])
        self.layer3 = _stage(2 * width, 4 * width, strides[2])
        self.layer4 = _stage(4 * width, 8 * width, strides[3])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x num_classes."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(in_channels, channels, stride), BasicBlock(channels, channels, 1))
