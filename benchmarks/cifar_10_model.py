"""The network of the package cifar-10-model 7.4.0 (a Keras network, weights in HDF5), and its weights, in torch."""

from pathlib import Path
from zipfile import ZipFile

import torch
from torch import Tensor, nn

WEIGHTS = "cifar_10_model/trained_models/cnn_model.h5"
"""Where they lie in the package's wheel."""
_WIDTHS = (64, 64, 128, 128, 64, 64)


class CNN(nn.Module):
    """Six 3 x 3 convolutions without padding, ReLU and BatchNorm after each, and three linear layers; for 32 x 32 x 3.

    Its BatchNorm has eps 0.001 as in Keras; its statistics move by a tenth a step, where the package's move by 0.85.

    Args:
        num_classes: number of logits.
        relu_on_logits: as published: a ReLU after the last layer, which hides the gradient of every negative logit.
    """

    def __init__(self, num_classes: int = 10, relu_on_logits: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place, (before, width) in enumerate(zip((3, *_WIDTHS), _WIDTHS, strict=False)):
            layers += [nn.Conv2d(before, width, 3), nn.ReLU(), nn.BatchNorm2d(width, eps=1e-3)]
            layers += [nn.MaxPool2d(2)] * (place in (1, 3))
        self.features = nn.Sequential(*layers)
        hidden = [nn.Linear(64, 1024), nn.ReLU(), nn.Dropout(0.2), nn.Linear(1024, 512), nn.ReLU(), nn.Dropout(0.2)]
        self.hidden = nn.Sequential(*hidden)
        self.head = nn.Linear(512, num_classes)
        self.relu_on_logits = relu_on_logits

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x num_classes, of images N x 3 x 32 x 32 in [0, 1]."""
        logits: Tensor = self.head(self.hidden(self.features(images).flatten(1)))
        return logits.relu() if self.relu_on_logits else logits


def published_weights(wheel: Path) -> dict[str, Tensor]:
    """The state dict of `CNN` from the package's wheel, as `pip download` brings it; nothing of it is run.

    The package trained on pixels of 0 to 255: the first layer's weights are multiplied by that, so that the network is
    the same function of images in [0, 1], and its weights are of a size that learning rates are made for.
    """
    import h5py  # an extra

    with ZipFile(wheel) as archive, archive.open(WEIGHTS) as packed, h5py.File(packed, "r") as file:
        tensors = {
            f"{layer}.{name.partition(':')[0]}": torch.from_numpy(values[()])
            for layer, group in file["model_weights"].items()
            for name, values in group.get(layer, {}).items()
        }
    model = CNN()
    kinds = {nn.Conv2d: "conv2d", nn.BatchNorm2d: "batch_normalization", nn.Linear: "dense"}
    counts = dict.fromkeys(kinds.values(), 0)
    state = {}
    for name, module in model.named_modules():
        if type(module) not in kinds:
            continue
        kind = kinds[type(module)]
        layer = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
        if kind == "batch_normalization":
            theirs = {
                "weight": "gamma",
                "bias": "beta",
                "running_mean": "moving_mean",
                "running_var": "moving_variance",
            }
            state |= {f"{name}.{ours}": tensors[f"{layer}.{each}"] for ours, each in theirs.items()}
            state[f"{name}.num_batches_tracked"] = torch.tensor(0)
            continue
        kernel = tensors[f"{layer}.kernel"]
        state[f"{name}.weight"] = (kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T).contiguous()
        state[f"{name}.bias"] = tensors[f"{layer}.bias"]
    state["features.0.weight"] *= 255
    model.load_state_dict(state)
    return state
