"""Pre-activation ResNet-18 for small images."""

import torch.nn.functional as F
from torch import Tensor, nn

from toughen.models.initialise import initialise
from toughen.numbers import check_number


class PreActBlock(nn.Module):
    """BatchNorm and ReLU before each of two 3 x 3 convolutions (He et al. 2016, identity mappings)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the block."""
        activated = F.relu(self.bn1(x))
        # A projection starts from the activated input, an identity from the raw one.
        identity = x if self.shortcut is None else self.shortcut(activated)
        return self.conv2(F.relu(self.bn2(self.conv1(activated)))) + identity


class PreActResNet18(nn.Module):
    """PreAct ResNet-18 with the stem for small images (CIFAR), and BatchNorm and ReLU before the pooling.

    The variant of the single-step methods' published code, which ends with BatchNorm and ReLU; 11.17 M parameters at
    width 64. FGSM-PGK's code for Tiny ImageNet has `final_norm=False, pooled=2`: neither of the two, and a map of
    2 x 2 places instead of their mean before the linear layer.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        width: channels of the first stage; the stages have 1, 2, 4 and 8 times as many.
        final_norm: whether BatchNorm and ReLU follow the last stage.
        pooled: height and width of the map that the linear layer sees; 1 is the mean over all places.

    Raises:
        InputError: `pooled` is less than 1.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        width: int = 64,
        final_norm: bool = True,
        pooled: int = 1,
    ) -> None:
        super().__init__()
        check_number("model.num_classes", num_classes, least=1, whole=True)
        check_number("model.in_channels", in_channels, least=1, whole=True)
        check_number("model.width", width, least=1, whole=True)
        check_number("model.pooled", pooled, least=1, whole=True)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.width = width
        self.final_norm = final_norm
        self.pooled = pooled
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.layer1 = _stage(width, width, 1)
        self.layer2 = _stage(width, 2 * width, 2)
        self.layer3 = _stage(2 * width, 4 * width, 2)
        self.layer4 = _stage(4 * width, 8 * width, 2)
        self.bn = nn.BatchNorm2d(8 * width) if final_norm else None
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)
        self.fc = nn.Linear(8 * width * pooled**2, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x num_classes."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(images)))))
        if self.bn is not None:
            x = F.relu(self.bn(x))
        return self.fc(self.avgpool(x).flatten(1))


def _stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(PreActBlock(in_channels, channels, stride), PreActBlock(channels, channels, 1))
