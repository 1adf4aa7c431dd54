"""Labels for images that have none, from a trained model."""

import torch
from torch import Tensor, nn

from toughen.data.source import ImageStore
from toughen.errors import InputError
from toughen.models.build import check_outputs
from toughen.models.inference import NO_PREDICTION, frozen, predict
from toughen.models.outputs import giving_logits


def pseudo_labels(
    model: nn.Module, images: ImageStore, classes: int, device: torch.device | str, batch_size: int = 500
) -> Tensor:
    """The model's most likely class of each image, int64 (N,), on the CPU.

    Raises:
        InputError: the model cannot take the images, has another number of classes, or gives NaN.
    """
    labels = torch.empty(len(images), dtype=torch.int64)
    with frozen(model, device) as judge:
        few = images.take(torch.arange(min(2, len(images)))).to(device) / 255
        judge = giving_logits(judge, few)
        check_outputs(judge, few, classes)
        for indices in torch.arange(len(images)).split(batch_size):
            labels[indices] = predict(judge, images.take(indices).to(device) / 255).cpu()
    failed = int((labels == NO_PREDICTION).sum())
    if failed:
        raise InputError(
            f"the model that is to label images gives NaN for {failed} of {len(images)}; give another run's folder"
        )
    return labels
