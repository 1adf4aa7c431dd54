"""The small default network."""

from torch import Tensor, nn

from toughen.models.initialise import initialise
from toughen.numbers import check_number


class SmallCNN(nn.Module):
    """Three convolutions with BatchNorm, for images from 4 x 4 up: trains in seconds on a CPU.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        width: channels of the first convolution; the other two have twice as many.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, *, width: int = 16) -> None:
        super().__init__()
        check_number("model.num_classes", num_classes, least=1, whole=True)
        check_number("model.in_channels", in_channels, least=1, whole=True)
        check_number("model.width", width, least=1, whole=True)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.width = width
        self.features = nn.Sequential(
            *_block(in_channels, width, stride=1),
            *_block(width, 2 * width, stride=2),
            *_block(2 * width, 2 * width, stride=1),
        )
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(8 * width, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x num_classes."""
        return self.fc(self.pool(self.features(images)).flatten(1))


def _block(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    # A stride instead of max pooling, which takes as long on a CPU as a convolution.
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
