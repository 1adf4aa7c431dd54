"""RegMix, adversarial mutual and generalization regularization."""

from typing import Literal

import torch
from torch import Tensor, nn

from toughen.attacks import FGSM, PGD
from toughen.batch import Batch
from toughen.contracts import check_choice, of_kind
from toughen.losses import LABELLED, cross_entropy, kl, squared_error
from toughen.methods.method import Perturbed, Term, Terms
from toughen.methods.prior import PriorGuided, failure_rate, initial_of
from toughen.models.passes import passes
from toughen.numbers import check_number

Regularizer = Literal["kl", "mse"]


def amr_terms(final: Tensor, initial: Tensor, alpha: float, beta: float) -> Terms:
    """AMR: `alpha KL(p(x + d_final) || p(x + d_init))` and `beta KL(p(x + d_init) || p(x + d_final))`, (N,) each.

    From logits, N x K; a part of weight 0 is left out.

    >>> {name: term.weight for name, term in amr_terms(torch.zeros(1, 2), torch.ones(1, 2), 2.0, 0.5).items()}
    {'amr_final_to_init': 2.0, 'amr_init_to_final': 0.5}
    """
    terms = {}
    if alpha:
        terms["amr_final_to_init"] = Term(kl(final, initial), alpha)
    if beta:
        terms["amr_init_to_final"] = Term(kl(initial, final), beta)
    return terms


class RegMix(PriorGuided):
    """RegMix (Liu 2025): adversarial training whose output is tied to the attack's start and to the clean image.

    `min CE(f(x + d_final), y) + AMR + AGR` with p the softmax of f,

        AMR = alpha KL(p(x + d_final) || p(x + d_init)) + beta KL(p(x + d_init) || p(x + d_final)), alpha != beta,
        AGR = gamma KL(p(x + d_final) || p(x)),

    d_init the attack's start and d_final its result. The larger of alpha and beta makes the main objective, the other
    the auxiliary one. Gradients flow through both sides of every term.

    With `prior` the attack is one FGSM step from the perturbation that is remembered of every image, as FGSM-PGI's;
    without it, `attack` from its own start: `--method.prior false --method.attack PGD` is the multi-step form.

    Source: Liu and Ojha, RegMix: Adversarial Mutual and Generalization Regularization for Enhancing DNN Robustness,
    2025; CIFAR-10, CIFAR-100 and Tiny ImageNet at several eps. Its text names lusti-Yu/Regmix on GitHub as its code,
    with which this could not be compared: it follows the text. The weights are not published in text. The defaults
    were chosen on digits, by PGD-10 accuracy on 400 held-out training images after 30 epochs, mean of 3 seeds, at l-inf
    eps 0.1 and 0.2 (`python benchmarks/regmix_weights.py`): they had the best mean of 16 settings, 77.2 % and 51.6 %.
    No regulariser: 76.2 and 44.3; the MSE: 77.2 and 50.7; AMR alone: 77.0 and 49.9; AGR alone: 76.7 and 50.4. Seeds
    differ by 1 to 4 points, so tune the weights on the held-out images of other data.

    Ablations: alpha = beta = 0 leaves AGR alone, gamma = 0 AMR alone; alpha = beta is the symmetric form. regularizer
    mse is the baseline of the paper's tables: `lam MSE(f(x + d_final), f(x + d_init))` of the logits, FGSM-PGK's
    regulariser, in place of AMR.

    When to use it: for robust accuracy at single-step cost, with weights chosen on the validation split; with PGD where
    multi-step cost is acceptable.

    Deviations: those of FGSM-PGI in how an image's perturbation is remembered; its velocity takes every gradient with
    weight 1 (FGSM-PGK's follows the attack's success).

    Memory, with `prior`: two fp16 numbers a pixel and channel of the training set, 0.6 GB for CIFAR-10, 4.9 GB for Tiny
    ImageNet; checkpoints grow by as much.

    Cost: 4 forward and 4 backward passes a step; one of each less without AMR, and without AGR; one more for every
    further step of the attack. Standard training has 1 and 1.

    Args:
        alpha: weight in AMR of the KL from the attack's end to its start, at least 0.
        beta: weight in AMR of the KL from the attack's start to its end, at least 0 and other than alpha.
        gamma: weight of AGR, at least 0.
        regularizer: kl (AMR) or mse, between the outputs at the attack's end and its start.
        lam: weight of the MSE where regularizer is mse, at least 0.
        prior: start from the image's remembered perturbation; false: from the attack's own start.
        momentum: share of an image's velocity that stays, 0 to below 1.
        reset: epochs after which all perturbations are forgotten, at least 1.
        attack: the ascent on the label.
    """

    held: Tensor

    def __init__(
        self,
        alpha: float = 3.0,
        beta: float = 10.0,
        gamma: float = 3.0,
        regularizer: Regularizer = "kl",
        lam: float = 5.6,
        prior: bool = True,
        momentum: float = 0.3,
        reset: int = 10,
        attack: PGD = FGSM(),
    ) -> None:
        super().__init__(momentum, reset)
        for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma), ("lam", lam)):
            check_number(f"method.{name}", value, "a weight", least=0)
        check_choice("method.regularizer", regularizer, Regularizer)
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.regularizer: Regularizer = regularizer
        self.lam = lam
        self.prior = prior
        self.attack = of_kind("method.attack", attack, PGD)
        self.register_buffer("held", torch.tensor(1.0))

    @property
    def compares_start(self) -> bool:
        """Whether the output at the attack's start takes part in the loss."""
        return self.lam > 0 if self.regularizer == "mse" else self.alpha > 0 or self.beta > 0

    def attack_failure_rate(self) -> Tensor | None:
        """Share of images that held in the last step; None where the output at the attack's start is not computed."""
        return self.held if self.compares_start else None

    def allocate_memory(self, images: int, shape: tuple[int, int, int]) -> None:
        """Allocate a perturbation for every image, where they are remembered."""
        if self.prior:
            super().allocate_memory(images, shape)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an attack on the label, from the remembered perturbations or from its own start, finds."""
        if self.prior:
            loss = LABELLED[self.attack.loss]
            return self.attack_from_memory(model, batch, lambda z: loss(z, batch.labels), self.attack)
        start = self.attack.initial(batch.images, self.threat, self.generator)
        found = self.attack.run(model, batch.images, batch.labels, self.threat, self.generator, initial=start)
        images = found.adversarial
        return Perturbed(images, start)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Cross-entropy of the adversarial images, and what ties their output to the start's and the clean one's."""
        images = [perturbed.images]
        images += [initial_of(perturbed)] if self.compares_start else []
        images += [batch.images] if self.gamma else []
        final, *others = passes(model, *images)
        terms = {"adversarial_ce": Term(cross_entropy(final, batch.target))}
        if self.compares_start:
            initial = others[0]
            self.held.copy_(failure_rate(final, initial, batch.labels, self.held))
            if self.regularizer == "mse":
                terms["mse"] = Term(squared_error(final, initial), self.lam)
            else:
                terms.update(amr_terms(final, initial, self.alpha, self.beta))
        if self.gamma:
            terms["agr"] = Term(kl(final, others[-1]), self.gamma)
        return terms
