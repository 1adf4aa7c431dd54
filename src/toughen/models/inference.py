"""A model held still while it is judged: eval mode, fp32, no gradient for its parameters."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from toughen.models.mode import attacked
from toughen.models.state import check_values, copied

NO_PREDICTION = -1
"""The prediction for an image whose logits hold a NaN: no label, so the image counts as misclassified."""


@contextmanager
def frozen(model: nn.Module, device: torch.device | str) -> Iterator[nn.Module]:
    """The model as it is judged: on `device`, in eval mode and fp32, its parameters out of the gradient.

    A model that is elsewhere or in another precision is copied; the caller's own stays as it is. Autocast,
    TF32 and reduced-precision products are off inside, and cuDNN is deterministic. Train/eval flags,
    `requires_grad` and these settings come back at the end, also after an error.

    Raises:
        InputError: a model without values, or one that must be copied and cannot be.
    """
    device = torch.device(device)
    check_values(model)
    tensors = [*model.parameters(), *model.buffers()]
    fits = all(tensor.dtype == torch.float32 for tensor in tensors if tensor.is_floating_point())
    # An empty tensor knows the index that a bare "cuda" stands for.
    fits = fits and all(tensor.device == torch.empty(0, device=device).device for tensor in tensors)
    judged = model if fits else copied(model).to(device=device, dtype=torch.float32)
    with attacked(judged), _exact_fp32(device.type):
        yield judged


@contextmanager
def _exact_fp32(device_type: str) -> Iterator[None]:
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            torch.autocast(device_type, enabled=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def classify(model: nn.Module, images: Tensor, passes: int = 1) -> tuple[Tensor, Tensor]:
    """The most likely class of each image, int64 (N,), and its softmax probability, (N,).

    Where a logit is NaN the class is `NO_PREDICTION` and the probability NaN. Of several passes image j gets the
    answer of the (j mod `passes`)-th: each is of one pass, but a random model's images do not all share one draw.
    """
    with torch.no_grad():
        logits = model(images)
        for first in range(1, passes):
            logits[first::passes] = model(images)[first::passes]
        missing = logits.isnan().any(dim=1)
        predictions = torch.where(missing, NO_PREDICTION, logits.argmax(dim=1))
        return predictions, torch.where(missing, torch.nan, logits.softmax(dim=1).amax(dim=1))


def classes_of(model: nn.Module, images: Tensor) -> Tensor:
    """The classes alone; see `classify`."""
    return classify(model, images)[0]
