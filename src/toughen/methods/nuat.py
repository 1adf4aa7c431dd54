"""NuAT, nuclear norm adversarial training."""

import torch
from torch import Tensor

from toughen.attacks import GradientAttack
from toughen.contracts import check_logits
from toughen.hardware.precision import at_least_fp32
from toughen.methods.guided import Guided
from toughen.numbers import check_number


def nuclear_norm(first: Tensor, second: Tensor) -> Tensor:
    """`||first - second||_* / N`, the sum of the singular values of the N x K matrix over N; a scalar.

    >>> nuclear_norm(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.zeros(2, 2))
    tensor(3.5000)
    """
    check_logits(first, second)
    difference = at_least_fp32(first) - at_least_fp32(second)
    total: Tensor = torch.linalg.svdvals(difference).sum()
    return total / len(difference)


class NuAT(Guided):
    """NuAT (Sriramanan 2021): one attack step, and outputs that a batch's attacks together move little.

    `min CE(f(x), y) + lam ||f(x) - f(x')||_* / N`, the nuclear norm (sum of the singular values) of the N x K matrix of
    a batch's logits. `x' = project(x0 + eps sign(grad))`, x0 a random corner of the ball of `noise` eps around x, the
    gradient that of `CE(f(x0), y)` in one step and of `CE(f(x0), y) + lam ||f(x) - f(x0)||_* / N` in the next. lam
    grows epoch by epoch, from 0 in the first one to its whole after the share `ramp` of the run.

    Source: Sriramanan et al., Towards Efficient and Effective Adversarial Training, NeurIPS 2021, and its code.
    Published for CIFAR-10, ResNet-18, l-inf ball of 8/255, batch 64: lam 4.5, ramp 0.9 (81.0 clean, 49.2 AutoAttack);
    with an average of the weights (NuAT-WA) lam 4, ramp 1, EMA of 0.9998 (82.2, 50.8).

    When to use it: as the strongest single-step method without a memory, with an average of the weights.

    The nuclear norm grows with the root of N, so the term falls with it: for other batches than 64 images (a process's
    share counts), lam goes with the root of their size.

    Deviations: the attack's f(x) is in eval mode as its f(x0); the code's passes in train mode, whose running
    statistics it moves: `clean_passes=2`. The code divides the last, smaller batch by 64 too. The paper's two-step and
    hybrid variants are not here.

    Cost: 4 forward and 3 backward passes a step; standard training has 1 and 1.

    Args:
        lam: weight of the nuclear norm, at least 0; 4.5 is for batches of 64.
        ramp: share of the run over which lam grows from 0; 0 for none.
        noise: how far the start is from the clean image in units of eps, 0 to 1.
        clean_passes: 1: the attack's f(x) is in the attack's mode; 2: in train mode, as in the published code.
        attack: the step from the noisy image; its own start is not used.
    """

    term = "nuclear"

    def __init__(
        self,
        lam: float = 4.5,
        ramp: float = 0.9,
        noise: float = 0.5,
        clean_passes: int = 1,
        attack: GradientAttack = GradientAttack(steps=1, start="clean"),
    ) -> None:
        super().__init__(lam, noise, clean_passes, attack)
        check_number("method.ramp", ramp, "a share of the run", least=0, most=1)
        self.ramp = ramp

    def distance(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """The nuclear norm of the logits' differences."""
        return nuclear_norm(clean, adversarial)

    def weight_after(self, share: float) -> float:
        """`lam min(1, share / ramp)`."""
        return self.lam * min(1.0, share / self.ramp) if self.ramp else self.lam
