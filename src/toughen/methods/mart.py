"""MART, misclassification-aware adversarial training."""

from torch import Tensor, nn

from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.losses import cross_entropy, kl, log_probabilities
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.models.passes import passes
from toughen.numbers import check_number


def boosted_cross_entropy(adversarial: Tensor, labels: Tensor, target: Tensor | None = None) -> Tensor:
    """`CE(f(x'), t) - log(1.0001 - max_{k != y} p_f(x')_k)` of each image, (N,); t is y unless `target` is given.

    The second part pushes down the strongest wrong class; it lies between -log 1.0001 and -log 0.0001 = 9.21.

    >>> import torch
    >>> boosted_cross_entropy(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
    tensor([1.3861])
    """
    probabilities = log_probabilities(adversarial).exp()
    strongest_wrong = probabilities.scatter(1, labels[:, None], 0.0).amax(dim=1)
    return cross_entropy(adversarial, labels if target is None else target) - (1.0001 - strongest_wrong).log()


def misclassified_kl(clean: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
    """`KL(p_f(x) || p_f(x')) (1 - p_f(x)_y)` of each image, (N,): the KL counts where the clean image is not held.

    >>> import torch
    >>> even, certain = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, -2.0]])
    >>> misclassified_kl(even, certain, torch.tensor([0]))
    tensor([0.6625])
    """
    return kl(clean, adversarial) * (1 - (-cross_entropy(clean, labels)).exp())


class MART(Method):
    """MART (Wang 2020): adversarial training that regularises misclassified images more than others.

    `min BCE(f(x'), y) + lam KL(p_f(x) || p_f(x')) (1 - p_f(x)_y)` with
    `BCE(f(x'), y) = CE(f(x'), y) - log(1.0001 - max_{k != y} p_f(x')_k)` and `x' = argmax CE(f(x'), y)`.

    Source: Wang et al., Improving Adversarial Robustness Requires Revisiting Misclassified Examples, ICLR 2020, and
    its code. Published for CIFAR-10: lam 5 (ResNet-18) or 6 (WRN-34-10), start x + 0.001 N(0, 1), 10 steps of
    0.007 in the l-inf ball of 0.031; ResNet-18: SGD with learning rate 0.01, weight decay 3.5e-3, batch 128, 120
    epochs, x0.1, x0.01 and x0.001 from epochs 75, 90 and 100.

    When to use it: where robust accuracy under gradient attacks matters more than clean accuracy; compare under
    AutoAttack, where its lead shrinks.

    Deviations: the code adds 1e-12 inside both logarithms. In the boosted cross-entropy that is less than 1e-8; in
    the KL it caps the logarithm of an adversarial probability at -log 1e-12 = 27.6, where here it comes from
    log-softmax and has no cap. Both agree to 1e-6 while all adversarial probabilities exceed about 1e-6. The code
    weights by 1.0000001 - p_f(x)_y, here 1 - p_f(x)_y. The default step size follows eps (2.5 eps / steps).

    Cost: 12 forward and 12 backward passes a step; standard training has 1 and 1.

    Args:
        lam: weight of the KL term, at least 0.
        attack: the inner maximum, an attack on the label.
    """

    weighting = "mart"

    def __init__(self, lam: float = 5.0, attack: PGD = PGD(steps=10, start="normal")) -> None:
        super().__init__()
        check_number("method.lam", lam, "a weight", least=0)
        self.lam = lam
        self.attack = of_kind("method.attack", attack, PGD)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an attack on the label finds."""
        return Perturbed(self.attack.run(model, batch.images, batch.labels, self.threat, self.generator).adversarial)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Boosted cross-entropy of the adversarial images, and the KL weighted by the doubt in the clean ones."""
        clean, adversarial = passes(model, batch.images, perturbed.images)
        return {
            "boosted_ce": Term(boosted_cross_entropy(adversarial, batch.labels, batch.target)),
            "regularizer": Term(misclassified_kl(clean, adversarial, batch.labels), self.lam),
        }
