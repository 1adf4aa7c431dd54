"""Adversarial weight perturbation."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from toughen.methods import Method
from toughen.numbers import check_number

Mean = Callable[[list[Tensor]], list[Tensor]]
"""From the gradients of this process to their means over all processes."""


def uphill(weights: Iterable[Tensor], gradients: Iterable[Tensor], gamma: float) -> list[Tensor]:
    """`v = gamma ||w|| g / ||g||` of each weight tensor w and its gradient g, norms over the whole tensor; 0 if g = 0.

    >>> uphill([torch.tensor([3.0, 4.0])], [torch.tensor([0.0, -2.0])], gamma=0.1)
    [tensor([ 0.0000, -0.5000])]
    """
    # 1e-20 is the published code's guard: far below any gradient's norm, and a zero gradient moves nothing.
    return [gamma * w.norm() / (g.norm() + 1e-20) * g for w, g in zip(weights, gradients, strict=True)]


@contextmanager
def tensors_kept(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Restore these tensors afterwards, bit by bit, whatever is done to them in place inside."""
    kept = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, old in zip(tensors, kept, strict=True):
                tensor.copy_(old)


class AWP:
    """AWP (Wu 2020): every step's gradient is taken at weights moved a little in the direction that raises the loss.

    Each of the network's weight tensors w with more than one dimension moves by `v = gamma ||w|| g / ||g||`, where g
    is the gradient of the method's own loss, `total(terms)`, on the same clean and perturbed images. The step's
    gradient is that of the same loss at w + v; then the weights come back, bit by bit, and the optimiser takes its
    step. BatchNorm statistics are not updated by the pass that finds g. Biases, normalisation parameters and the
    learnable parts of the method (a predictor, a guide) are not moved.

    Source: Wu et al., Adversarial Weight Perturbation Helps Robust Generalization, NeurIPS 2020. The defaults are its
    code's for TRADES; for PGD-AT it takes gamma 0.01 from the first epoch.

    Deviations: the published code takes the optimiser's step while the weights are still moved and subtracts v
    afterwards, which leaves rounding in the weights and lets weight decay act on w + v; here it acts on w unless
    `decay_moved` is set. It finds v on a copy of the network; here there is none. Where gradients are accumulated,
    each batch has a v of its own. The code's TRADES passes images in another order and the clean ones twice:
    `TRADES(clean_passes=2, adversarial_first=True)`.

    Cost: one more forward and backward pass of the method's terms; the inner maximum is not repeated.

    Args:
        gamma: length of the move relative to that of the weights, above 0; 0.005 to 0.01 are usual.
        start: the first epoch (counted from 1) in which weights are moved.
        decay_moved: let weight decay act on w + v, as in the published code.

    Raises:
        InputError: a setting out of range.
    """

    def __init__(self, gamma: float = 0.005, start: int = 10, decay_moved: bool = False) -> None:
        check_number("awp.gamma", gamma, above=0, such="0.005")
        check_number("awp.start", start, least=1, whole=True)
        self.gamma = gamma
        self.start = start
        self.decay_moved = decay_moved

    def due(self, epoch: int) -> bool:
        """Whether weights are moved in this epoch, counted from 0."""
        return epoch + 1 >= self.start

    @contextmanager
    def moved(
        self, model: nn.Module, method: Method, loss: Callable[[], Tensor], mean: Mean | None = None
    ) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Move the network's weights uphill inside and restore them afterwards; gives each weight with its move v.

        Args:
            model: the network.
            method: the method; its buffers are kept too, but for its memories of every image, which `terms` do not
                write.
            loss: the method's loss on the batch at hand, computed by the bare modules.
            mean: averages the gradients over the processes, so that all move alike; None for one process.
        """
        weights = [weight for weight in model.parameters() if weight.requires_grad and weight.ndim > 1]
        own = [buffer for name, buffer in method.named_buffers() if name not in method.memories]
        with tensors_kept([*model.buffers(), *own]):
            # Not backward(): gradients that are being accumulated stay as they are.
            gradients = torch.autograd.grad(loss(), weights, allow_unused=True, materialize_grads=True)
        steps = uphill(weights, gradients if mean is None else mean(list(gradients)), self.gamma)
        # Kept and not subtracted again, which would leave rounding in the weights.
        with tensors_kept(weights):
            with torch.no_grad():
                for weight, step in zip(weights, steps, strict=True):
                    weight.add_(step)
            yield list(zip(weights, steps, strict=True))
