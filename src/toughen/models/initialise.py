"""Initial weights, drawn from torch's global generator as everywhere in PyTorch."""

from torch import nn


def initialise(network: nn.Module) -> None:
    """Kaiming-normal convolutions (fan out, ReLU), BatchNorm at weight 1 and bias 0; linear layers as torch's."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
