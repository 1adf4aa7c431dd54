"""One row for every method: the shared suite in test_contract.py puts each through the same tests.

A method that has no row fails the suite. Add `NAME: Case(settings)`, small enough to run in milliseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from toughen.attacks import FGSM, PGD, AdaptivePGD, GradientAttack
from toughen.methods import (
    ALP,
    ARAT,
    ARR,
    D2R,
    DAJAT,
    EAT,
    FGSMPGI,
    FGSMPGK,
    FGSMRS,
    FGSMUAP,
    GAIRAT,
    GAT,
    HAT,
    IKL,
    LBGAT,
    LIET,
    LTD,
    MART,
    NFGSM,
    OAAT,
    PGDAT,
    SCORE,
    TRADES,
    VAT,
    ARoW,
    FreeAT,
    GradAlign,
    Guide,
    Method,
    NuAT,
    RegMix,
    Standard,
)
from toughen.methods.guide import fresh_copy
from toughen.methods.helped import Helped
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class Case:
    """How a method is made for the tests, and what it promises.

    Attributes:
        make: builds it with a small attack.
        terms: the names of its loss terms.
        perturbs: whether its images differ from the clean ones.
        attacks_in_train_mode: whether its attack moves the BatchNorm statistics.
        reach: how far its perturbations go, in units of eps; more than 1 where the published method does not project.
    """

    make: Callable[[], Method]
    terms: tuple[str, ...]
    perturbs: bool = True
    attacks_in_train_mode: bool = False
    reach: float = 1.0


class AnyHelper(Helped):
    """A method with an untrained helper, so that the suite needs no run for every number of classes."""

    def prepare(self, model: nn.Module) -> nn.Module:
        self.helper = fresh_copy(model).requires_grad_(False).eval()
        return model


class HATWithAnyHelper(AnyHelper, HAT):
    """HAT so."""


class LTDWithAnyHelper(AnyHelper, LTD):
    """LTD so."""


WITH_ANY_HELPER = {"HAT": HATWithAnyHelper, "LTD": LTDWithAnyHelper}

DAJAT_TERMS = ("natural", "robust_kl", "js")
ARAT_TERMS = ("adversarial_ce", "clean_ce", "invariance")

CASES: dict[str, list[Case]] = {
    "ALP": [
        Case(lambda: ALP(attack=PGD(steps=2)), ("ce", "pairing")),
        Case(lambda: ALP(lam=1.0, mixed=True, attack=PGD(steps=2)), ("ce", "pairing")),
    ],
    "ARoW": [
        Case(lambda: ARoW(attack=GradientAttack(steps=2)), ("supervised", "regularizer")),
        Case(
            lambda: ARoW(weight="cow", smoothing=0.0, inner="ce", attack=GradientAttack(steps=2)),
            ("supervised", "regularizer"),
        ),
    ],
    "ARAT": [
        Case(lambda: ARAT(attack=PGD(steps=2, mode="train")), ARAT_TERMS, attacks_in_train_mode=True),
        Case(lambda: ARAT(layers=["features.4", "pool"], distance="mse", attack=PGD(steps=2)), ARAT_TERMS),
        Case(
            lambda: ARAT(split_bn=False, predictor=False, direction="both", balance=0.3, attack=PGD(steps=2)),
            ARAT_TERMS,
        ),
        Case(
            lambda: ARAT(stop_gradient=False, direction="to_adversarial", distance="kl", attack=PGD(steps=2)),
            ARAT_TERMS,
        ),
        Case(lambda: ARAT(noise_in_place=True, attack=PGD(steps=2)), ARAT_TERMS, reach=2.0),
    ],
    "ARR": [
        Case(lambda: ARR(lam=3.0, attack=PGD(steps=2)), ("ce", "distance")),
        Case(lambda: ARR(lam=0.3, distance="l2", on="logits", attack=FGSM()), ("ce", "distance")),
        Case(lambda: ARR(lam=1.0, distance="l1", attack=FGSM(start="uniform")), ("ce", "distance")),
        Case(lambda: ARR(lam=1.0, distance="lq", q=3.0, on="logits", attack=PGD(steps=3)), ("ce", "distance")),
    ],
    "D2R": [
        Case(
            lambda: D2R(attack=GradientAttack(steps=2, start="normal")),
            ("guide_ce", "logit_mse", "clean", "adversarial"),
        ),
        Case(
            lambda: D2R(
                Guide("SmallCNN", {"width": 4}),
                clean="js",
                adversarial="mse",
                gradient="mixture",
                attack=GradientAttack(steps=2, start="normal"),
            ),
            ("guide_ce", "logit_mse", "clean", "adversarial"),
        ),
        Case(
            lambda: D2R(
                clean="reverse_kl",
                adversarial="gap",
                over_classes="sum",
                clean_weight=2.0,
                adversarial_weight=3.0,
                log_offset=1e-5,
                gradient="guide",
                save_guide=True,
                attack=GradientAttack(steps=2, start="normal"),
            ),
            ("guide_ce", "logit_mse", "clean", "adversarial"),
        ),
        Case(
            lambda: D2R(collaborative=False, attack=GradientAttack(steps=2, start="normal")),
            ("guide_ce", "logit_mse", "clean", "adversarial"),
        ),
    ],
    "DAJAT": [
        Case(lambda: DAJAT(attack=GradientAttack(steps=2, start="normal")), DAJAT_TERMS),
        Case(lambda: DAJAT(views=1, split_bn=False, attack=GradientAttack(steps=2)), DAJAT_TERMS),
    ],
    "EAT": [
        Case(lambda: EAT(attack=AdaptivePGD(steps=2)), ("adversarial_ce",)),
        Case(lambda: EAT([ThreatModel("l2", 1.0), ThreatModel("l1", 3.0)], PGD(steps=2)), ("adversarial_ce",)),
    ],
    # The published factor of 0.5 says nothing about 2 classes, which the suite has too.
    "FGSMPGI": [Case(lambda: FGSMPGI(factor=0.6), ("adversarial_ce", "mse"))],
    "FGSMPGK": [Case(lambda: FGSMPGK(factor=0.6), ("adversarial_ce", "mse"))],
    "FGSMRS": [Case(FGSMRS, ("adversarial_ce",))],
    "GAT": [Case(lambda: GAT(clean_passes=2, noise=0.0), ("ce", "squared_error"), attacks_in_train_mode=True)],
    "FGSMUAP": [Case(FGSMUAP, ("adversarial_ce", "mse"))],
    # Its first images are clean: what it adds is what earlier steps found.
    "FreeAT": [Case(FreeAT, ("adversarial_ce",), perturbs=False)],
    "GAIRAT": [
        Case(lambda: GAIRAT(attack=GradientAttack(steps=2)), ("weighted_ce",)),
        Case(lambda: GAIRAT(lam=0.0, begin=1, attack=GradientAttack(steps=3)), ("weighted_ce",)),
    ],
    "GradAlign": [Case(GradAlign, ("adversarial_ce", "misalignment"), attacks_in_train_mode=True)],
    "HAT": [
        Case(
            lambda: HATWithAnyHelper(attack=GradientAttack(steps=2, start="normal")),
            ("natural", "robust_kl", "helper_ce"),
        )
    ],
    "IKL": [
        Case(lambda: IKL(attack=GradientAttack(steps=2, start="normal")), ("natural", "wmse", "soft_ce")),
        Case(
            lambda: IKL(alpha=5.0, beta=2.0, inner="ikl", attack=GradientAttack(steps=2)),
            ("natural", "wmse", "soft_ce"),
        ),
    ],
    "LBGAT": [
        Case(lambda: LBGAT(attack=GradientAttack(steps=2, start="normal")), ("guide_ce", "logit_mse", "robust_kl")),
        Case(
            lambda: LBGAT(
                Guide("SmallCNN", {"width": 4}), beta=6.0, inner="ce", save_guide=True, attack=GradientAttack(steps=2)
            ),
            ("guide_ce", "logit_mse", "robust_kl"),
        ),
    ],
    "LTD": [
        Case(lambda: LTDWithAnyHelper(attack=GradientAttack(steps=2, start="normal")), ("natural", "robust_kl")),
        Case(lambda: LTDWithAnyHelper(temperature=0.5, attack=GradientAttack(steps=2)), ("natural", "robust_kl")),
    ],
    "LIET": [Case(lambda: LIET(smoothing=0.4), ("adversarial_ce", "jensen_shannon"))],
    "MART": [Case(lambda: MART(attack=PGD(steps=2, start="normal")), ("boosted_ce", "regularizer"))],
    "NFGSM": [
        Case(NFGSM, ("adversarial_ce",), reach=3.0),
        Case(lambda: NFGSM(k=0.5), ("adversarial_ce",), reach=1.5),
    ],
    "NuAT": [Case(NuAT, ("ce", "nuclear"))],
    "OAAT": [
        Case(lambda: OAAT(attack=PGD(steps=2)), ("natural", "robust_kl"), reach=2.0),
        Case(
            lambda: OAAT(layers=["features.7", "fc"], mixing=0.0, attack=PGD(steps=2, step_size=0.01, mode="train")),
            ("natural", "robust_kl"),
            attacks_in_train_mode=True,
            reach=2.0,
        ),
    ],
    "PGDAT": [Case(lambda: PGDAT(attack=PGD(steps=2)), ("adversarial_ce",))],
    "RegMix": [
        Case(RegMix, ("adversarial_ce", "amr_final_to_init", "amr_init_to_final", "agr")),
        Case(lambda: RegMix(alpha=0.0, beta=0.0), ("adversarial_ce", "agr")),
        Case(
            lambda: RegMix(beta=0.0, gamma=0.0, prior=False, attack=PGD(steps=2)),
            ("adversarial_ce", "amr_final_to_init"),
        ),
        Case(lambda: RegMix(gamma=0.0, regularizer="mse"), ("adversarial_ce", "mse")),
    ],
    "SCORE": [
        Case(lambda: SCORE(attack=GradientAttack(steps=2, start="normal")), ("natural", "robust")),
        Case(
            lambda: SCORE(
                beta=4.0,
                clip=0.01,
                clip_of="regularizer",
                adversarial_first=False,
                attack=GradientAttack(2, mode="train"),
            ),
            ("natural", "robust"),
        ),
    ],
    "Standard": [Case(Standard, ("ce",), perturbs=False)],
    "TRADES": [
        Case(lambda: TRADES(beta=6.0, attack=GradientAttack(steps=2, start="normal")), ("natural", "robust_kl")),
        Case(
            lambda: TRADES(clean_passes=2, adversarial_first=True, attack=GradientAttack(steps=2, start="normal")),
            ("natural", "robust_kl"),
        ),
    ],
    "VAT": [
        Case(VAT, ("ce", "virtual_kl")),
        Case(lambda: VAT(lam=2.0, iterations=3, stop_gradient=False), ("ce", "virtual_kl")),
    ],
}
