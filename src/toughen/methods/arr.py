"""ARR, adversarial robustness regularization."""

from typing import Literal

from torch import Tensor, nn

from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.contracts import check_choice, of_kind
from toughen.losses import cross_entropy, kl, log_probabilities, lq_distance
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.models.passes import passes
from toughen.numbers import check_number

Distance = Literal["kl", "l1", "l2", "lq"]
Outputs = Literal["probabilities", "logits"]


def output_distance(clean: Tensor, adversarial: Tensor, distance: Distance, on: Outputs, q: float) -> Tensor:
    """`D(f(x), f(x'))` of each image from its logits: KL of the softmax outputs, or an Lq norm of a difference."""
    if distance == "kl":
        return kl(clean, adversarial)
    if on == "probabilities":
        clean, adversarial = log_probabilities(clean).exp(), log_probabilities(adversarial).exp()
    return lq_distance(clean, adversarial, {"l1": 1.0, "l2": 2.0, "lq": q}[distance])


class ARR(Method):
    """ARR: standard training plus a distance between clean and adversarial outputs, with a cheap attack.

    `min CE(f(x), y) + lam D(f(x), f(x'))` with x' from FGSM or 1 to 3 steps of PGD on the cross-entropy;
    D is `KL(p_f(x) || p_f(x'))` or `||g(x) - g(x')||_q`, g the logits or the probabilities.

    Source: Adversarial Robustness Regularization. Published setting: ResNet-18 on CIFAR-10 and CIFAR-100, SGD with
    momentum 0.9, learning rate 0.1, x0.1 at epochs 100 and 150. Where D is an Lq norm, the gradient where both outputs
    are equal is set to 0.

    When to use it: where clean accuracy or cost forbids full adversarial training: with FGSM it costs about three times
    standard training, and `lam` slides between standard and robust training.

    Deviations: the default step size follows eps (2.5 eps / steps), because none is published.

    Cost: 5 forward and 5 backward passes a step with the default 3 attack steps, 3 and 3 with FGSM; standard training
    has 1 and 1.

    Args:
        lam: weight of the distance, at least 0; choose it on the validation split.
        distance: kl, l1, l2, or lq with the order `q`.
        on: what an Lq distance compares; kl always compares probabilities.
        q: order of the norm for `lq`, at least 1.
        attack: the inner maximum: FGSM, or PGD with 1 to 3 steps.
    """

    def __init__(
        self,
        lam: float = 6.0,
        distance: Distance = "kl",
        on: Outputs = "probabilities",
        q: float = 2.0,
        attack: PGD = PGD(steps=3),
    ) -> None:
        super().__init__()
        check_number("method.lam", lam, "a weight", least=0)
        check_number("method.q", q, "a norm's order", least=1)
        check_choice("method.distance", distance, Distance)
        check_choice("method.on", on, Outputs)
        self.lam = lam
        self.distance: Distance = distance
        self.on: Outputs = on
        self.q = q
        self.attack = of_kind("method.attack", attack, PGD)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an attack on the label finds."""
        return Perturbed(self.attack.run(model, batch.images, batch.labels, self.threat, self.generator).adversarial)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Cross-entropy of the clean images and the distance of the two outputs."""
        clean, adversarial = passes(model, batch.images, perturbed.images)
        distance = output_distance(clean, adversarial, self.distance, self.on, self.q)
        return {"ce": Term(cross_entropy(clean, batch.target)), "distance": Term(distance, self.lam)}
