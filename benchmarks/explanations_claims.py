"""What the papers say, each as a difference of two figures, and the rule that judges it.

Both were fixed before the analyses were run. The difference is taken seed by seed. Confirmed: Student's 95 % interval
of its mean over the seeds lies wholly on the side that the paper says; not confirmed: wholly on the other side; else
it is not to be told at this size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from toughen.analysis.explanation import Figure, mean_of

SEEDS = (0, 1, 2)
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "Standard": ("Standard", {}),
    "TRADES": ("TRADES", {}),
    "ARR": ("ARR", {}),
    "ARoW": ("ARoW", {}),
    "CoW": ("ARoW", {"weight": "cow"}),
    "RegMix": ("RegMix", {}),
    "MSE": ("RegMix", {"regularizer": "mse", "gamma": 0}),
    "AR-AT": ("ARAT", {}),
    "AR-AT, no stop-gradient": ("ARAT", {"stop_gradient": False}),
    "AR-AT, no predictor": ("ARAT", {"predictor": False}),
    "AR-AT, no split": ("ARAT", {"split_bn": False}),
    "AR-AT, none of them": ("ARAT", {"stop_gradient": False, "predictor": False, "split_bn": False}),
}
"""Networks by their names, with class and options of the method."""
STUDIES: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "AR-AT": ([name for name in METHODS if name.startswith("AR-AT")], ("conflict", "mixture", "bound")),
    "RegMix": (["MSE", "RegMix"], ("surface", "outputs", "bound")),
    "ARR": (["Standard", "TRADES", "ARR"], ("features", "bound")),
    "ARoW": (["TRADES", "CoW", "ARoW"], ("bound", "images", "outputs")),
}
"""Networks that are analysed together, and the explanations that are asked for."""
Verdict = Literal["confirmed", "not confirmed", "not to be told"]
PUBLISHED = ("gap", "kl")
"""D2R's functions of the clean and of the adversarial distribution."""


class Of(NamedTuple):
    """A figure of a network, by the names that `toughen analyze` gives them."""

    network: str
    figure: str


@dataclass(frozen=True)
class Claim:
    """A paper's explanation as a difference.

    Attributes:
        study: whose networks show it.
        says: what the paper says, in a few words.
        first: the figure that the paper speaks of.
        second: what it is compared with; 0 where it is None.
        side: whether the paper says that the first is higher or lower.
    """

    study: str
    says: str
    first: Of
    second: Of | None
    side: Literal["higher", "lower"]

    @property
    def name(self) -> str:
        return f"{' '.join(self.first)} - {' '.join(self.second) if self.second else '0'}"


def _beside(
    study: str, first: str, second: str, figures: Mapping[str, tuple[str, Literal["higher", "lower"]]]
) -> list[Claim]:
    """The same figures of two networks."""
    return [Claim(study, says, Of(first, figure), Of(second, figure), side) for figure, (says, side) in figures.items()]


NAIVE = "AR-AT, none of them"
ADVERSARIAL, CLEAN = "conflict.cosine/adversarial_ce, invariance", "conflict.cosine/clean_ce, invariance"
CLAIMS = [
    Claim("AR-AT", "plain invariance against the adversarial loss: cosine", Of(NAIVE, ADVERSARIAL), None, "lower"),
    Claim("AR-AT", "plain invariance against the clean loss: cosine", Of(NAIVE, CLEAN), None, "lower"),
    *(
        claim
        for part in ("stop-gradient", "predictor")
        for claim in _beside("AR-AT", "AR-AT", f"AR-AT, no {part}", {
            ADVERSARIAL: (f"the {part} removes the conflict with the adversarial loss: cosine", "higher"),
            CLEAN: (f"the {part} removes the conflict with the clean loss: cosine", "higher"),
        })
    ),
    *_beside("AR-AT", "AR-AT", "AR-AT, no split", {
        "mixture.clean_to_held": ("split BatchNorm holds what clean images bring: distance", "lower"),
        "mixture.adversarial_to_held": ("split BatchNorm holds what adversarial images bring: distance", "lower"),
    }),
    *_beside("AR-AT", "AR-AT", NAIVE, {
        "bound.clean_risk": ("the three together: fewer clean errors", "lower"),
        "bound.robust_risk": ("the three together: fewer errors under attack", "lower"),
    }),
    *_beside("RegMix", "RegMix", "MSE", {
        "surface.linearity_error": ("smoother than MSE: departure from the tangent", "lower"),
        "surface.curvature": ("smoother than MSE: largest curvature", "lower"),
        "surface.rise": ("flatter than MSE: rise of the loss to the adversarial image", "lower"),
        "outputs.kl_label_clean": ("nearer to the truth than MSE: KL, clean", "lower"),
        "outputs.kl_label_adversarial": ("nearer to the truth than MSE: KL, under attack", "lower"),
        "bound.robust_risk": ("fewer errors under attack than MSE", "lower"),
    }),
    *(
        claim
        for other in ("Standard", "TRADES")
        for claim in _beside("ARR", "ARR", other, {
            "features.disentanglement": (f"more disentangled features than {other}: DCI", "higher"),
            "features.fisher_clean": (f"classes further apart than {other}: Fisher ratio", "higher"),
            "features.useful_under_attack": (f"more features stay useful than {other}: share", "higher"),
            "features.cka_clean_adversarial": (f"features change less under attack than {other}: CKA", "higher"),
        })
    ),
    *(
        claim
        for other in ("TRADES", "CoW")
        for claim in _beside("ARoW", "ARoW", other, {
            "bound.bound": (f"a lower bound of the risk than {other}", "lower"),
            "bound.robust_risk": (f"fewer errors under attack than {other}", "lower"),
        })
    ),
    Claim(
        "ARoW", "ARoW's weight lies on broken images: its share there over theirs",
        Of("ARoW", "images.weight_on_failures_arow"), Of("ARoW", "images.failed"), "higher",
    ),
    Claim(
        "ARoW", "CoW's weight does not: its share there over theirs",
        Of("CoW", "images.weight_on_failures_cow"), Of("CoW", "images.failed"), "lower",
    ),
]  # fmt: skip


def within(figures: Mapping[str, Mapping[str, Figure]], study: str) -> dict[str, list[float]]:
    """One seed's difference with its interval over images, for each claim on figures with a value an image."""
    found = {}
    for claim in CLAIMS:
        of_images = not claim.first.figure.startswith(("conflict.", "features."))  # of batches, and of features
        if claim.study != study or claim.second is None or not of_images:
            continue
        first, second = (figures[of.network][of.figure].values for of in (claim.first, claim.second))
        if first is not None and second is not None:
            paired = mean_of(np.asarray(first) - np.asarray(second), "")
            found[claim.name] = [paired.value, *(paired.interval or ())]
    return found


class Judged(NamedTuple):
    """A difference over seeds: mean, 95 % interval, and what the rule makes of it."""

    value: float
    interval: tuple[float, float]
    verdict: Verdict


def judge(differences: Sequence[float], side: Literal["higher", "lower"]) -> Judged:
    """The rule, for one difference a seed.

    >>> judge([0.10, 0.11, 0.12], "higher").verdict, judge([0.10, 0.11, 0.12], "lower").verdict
    ('confirmed', 'not confirmed')
    >>> judge([0.10, -0.11, 0.12], "higher").verdict
    'not to be told'
    """
    over = mean_of(differences, "")
    low, high = over.interval or (-np.inf, np.inf)
    above, below = low > 0, high < 0
    if not (above or below):
        return Judged(over.value, (low, high), "not to be told")
    return Judged(over.value, (low, high), "confirmed" if above == (side == "higher") else "not confirmed")
