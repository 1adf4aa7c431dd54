"""GAT, guided adversarial training."""

from torch import Tensor

from toughen.attacks import GradientAttack
from toughen.contracts import check_logits
from toughen.losses import log_probabilities
from toughen.methods.guided import Guided
from toughen.numbers import check_number


def probability_distance(first: Tensor, second: Tensor) -> Tensor:
    """`||softmax(first) - softmax(second)||^2`, the sum over the classes, (N,).

    >>> import torch
    >>> probability_distance(torch.tensor([[50.0, 0.0]]), torch.tensor([[0.0, 50.0]]))
    tensor([2.])
    """
    check_logits(first, second)
    return (log_probabilities(first).exp() - log_probabilities(second).exp()).square().sum(dim=1)


class GAT(Guided):
    """GAT (Sriramanan 2020): one attack step guided by the clean output, and an output that stays near it.

    `min CE(f(x), y) + lam ||p_f(x) - p_f(x')||^2`, `x' = project(x0 + eps sign(grad))`, x0 a random corner of the ball
    of `noise` eps around x, the gradient that of `CE(f(x0), y)` in one step and of `CE(f(x0), y) + lam
    ||p_f(x) - p_f(x0)||^2` in the next. After the share `late_from` of the run lam is `late` times as large.

    Source: Sriramanan et al., Guided Adversarial Attack for Evaluating and Enhancing Adversarial Defenses, NeurIPS
    2020, and its code. Published for CIFAR-10, l-inf ball of 8/255, batch 64: lam 10, four times that in the last 14 of
    100 epochs; ResNet-18 80.5 clean, 47.3 AutoAttack, WRN-34 85.2 and 50.3.

    When to use it: where NuAT's singular values are too slow or its batches too small; it is a little weaker.

    Deviations: the attack's f(x) is in eval mode as its f(x0); the code's passes in train mode, whose running
    statistics it moves: `clean_passes=2`. The code's two steps in turn are not in its MNIST variant, which always
    climbs the distance too.

    Cost: 4 forward and 3 backward passes a step; standard training has 1 and 1.

    Args:
        lam: weight of the squared distance, at least 0.
        late: factor of lam towards the end of the run, at least 0; 1 for none.
        late_from: share of the run after which it holds.
        noise: how far the start is from the clean image in units of eps, 0 to 1.
        clean_passes: 1: the attack's f(x) is in the attack's mode; 2: in train mode, as in the published code.
        attack: the step from the noisy image; its own start is not used.
    """

    term = "squared_error"

    def __init__(
        self,
        lam: float = 10.0,
        late: float = 4.0,
        late_from: float = 0.86,
        noise: float = 0.5,
        clean_passes: int = 1,
        attack: GradientAttack = GradientAttack(steps=1, start="clean"),
    ) -> None:
        super().__init__(lam, noise, clean_passes, attack)
        check_number("method.late", late, "a factor", least=0)
        check_number("method.late_from", late_from, "a share of the run", least=0, most=1)
        self.late = late
        self.late_from = late_from

    def distance(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """The squared distance of the probabilities."""
        return probability_distance(clean, adversarial)

    def weight_after(self, share: float) -> float:
        """`lam`, times `late` from `late_from` on."""
        return self.lam * (self.late if share >= self.late_from else 1.0)
