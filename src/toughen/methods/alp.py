"""ALP, adversarial logit pairing."""

from torch import Tensor, nn

from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.losses import cross_entropy, squared_error
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.models.passes import passes
from toughen.numbers import check_number


def alp_terms(clean: Tensor, adversarial: Tensor, target: Tensor, lam: float, mixed: bool) -> Terms:
    """`CE(f(x'), y)` (mixed: `(CE(f(x), y) + CE(f(x'), y)) / 2`) and `lam MSE(f(x), f(x'))`, from logits.

    The MSE is a mean over the classes.
    """
    ce = cross_entropy(adversarial, target)
    if mixed:
        ce = (cross_entropy(clean, target) + ce) / 2
    return {"ce": Term(ce), "pairing": Term(squared_error(clean, adversarial), lam)}


class ALP(Method):
    """ALP (Kannan 2018): adversarial training that pairs the logits of clean and adversarial images.

    `min CE(f(x'), y) + lam MSE(f(x), f(x'))` with `x' = argmax CE(f(x'), y)`.

    Source: Kannan, Kurakin, Goodfellow, Adversarial Logit Pairing, 2018, and its code. Published for (Tiny)
    ImageNet: lam 0.5, 10 steps of 2/255 in the l-inf ball of 16/255 towards the least likely class. The default
    attack is the untargeted one of PGD-AT. Its robustness did not hold under stronger attacks (Engstrom et al.
    2018): evaluate with AutoAttack.

    When to use it: as a baseline of pairing losses; its published robustness did not hold under stronger attacks, so
    trust only a full evaluation.

    Deviations: clean and adversarial images pass through the network one after the other; the code joins them to one
    batch, which share BatchNorm's statistics.

    Cost: 12 forward and 12 backward passes a step; standard training has 1 and 1.

    Args:
        lam: weight of the pairing, at least 0.
        mixed: take half of the cross-entropy on clean images, as the published code does.
        attack: the inner maximum, an attack on the label.
    """

    def __init__(self, lam: float = 0.5, mixed: bool = False, attack: PGD = PGD(steps=10)) -> None:
        super().__init__()
        check_number("method.lam", lam, "a weight", least=0)
        self.lam = lam
        self.mixed = mixed
        self.attack = of_kind("method.attack", attack, PGD)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an attack on the label finds."""
        return Perturbed(self.attack.run(model, batch.images, batch.labels, self.threat, self.generator).adversarial)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The cross-entropy, and the squared distance of the logits."""
        clean, adversarial = passes(model, batch.images, perturbed.images)
        return alp_terms(clean, adversarial, batch.target, self.lam, self.mixed)
