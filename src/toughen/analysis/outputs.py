"""How far are the outputs from the truth, and those of clean and adversarial images from each other?"""

from functools import partial

import torch
from torch import Tensor

from toughen.analysis.explanation import (
    Explained,
    Explanation,
    Figure,
    Insight,
    Picture,
    interval_text,
    mean_of,
    resampled,
)
from toughen.analysis.measures.outputs import (
    brier,
    calibration_error,
    entropy,
    jensen_shannon,
    probability_margin,
    total_variation,
)
from toughen.losses import cross_entropy, kl


class OutputDistributions(Explanation):
    """Distances of clean and adversarial output distributions from the label and from each other.

    RegMix and D2R argue that theirs are nearer to the truth. Calibration says whether a confidence of 80 % is right in
    80 % of the images: its error over bins of equal mass, and the Brier score. The Kullback-Leibler divergence from a
    label is the cross-entropy; the total variation from it is `1 - p_y`.
    """

    title = "Output distributions"
    source = "Liu and Ojha 2025 (RegMix); Liu et al. 2025 (D2R); Nguyen & O'Connor 2015 (calibration error); Brier 1950"

    def explain(self, explained: Explained) -> Insight | None:
        """Divergences, total variation, entropy and margins, all means over images."""
        clean, adversarial = explained.logits()
        labels = explained.labels.cpu()
        values = {
            "kl_label_clean": (cross_entropy(clean, labels), "KL(label || clean output), in nats", "low"),
            "kl_label_adversarial": (cross_entropy(adversarial, labels), "KL(label || adversarial output)", "low"),
            "tv_label_clean": (1 - torch.exp(-cross_entropy(clean, labels)), "total variation, label to clean", "low"),
            "tv_label_adversarial": (
                1 - torch.exp(-cross_entropy(adversarial, labels)), "total variation, label to adversarial", "low"
            ),
            "kl_clean_adversarial": (kl(clean, adversarial), "KL(clean || adversarial)", "low"),
            "kl_adversarial_clean": (kl(adversarial, clean), "KL(adversarial || clean)", "low"),
            "js": (jensen_shannon(clean, adversarial), "Jensen-Shannon, clean and adversarial", "low"),
            "tv": (total_variation(clean, adversarial), "total variation, clean and adversarial", "low"),
            "entropy_clean": (entropy(clean), "entropy of clean outputs, in nats", None),
            "entropy_adversarial": (entropy(adversarial), "entropy of adversarial outputs", None),
            "margin_clean": (probability_margin(clean, labels), "margin of the true class, clean", "high"),
            "margin_adversarial": (probability_margin(adversarial, labels), "the same, adversarial", "high"),
            "brier_clean": (brier(clean, labels), "Brier score, clean", "low"),
            "brier_adversarial": (brier(adversarial, labels), "Brier score, adversarial", "low"),
        }  # fmt: skip
        figures = {name: mean_of(each, says, better) for name, (each, says, better) in values.items()}  # type: ignore[arg-type]
        for name, logits in (("clean", clean), ("adversarial", adversarial)):
            figures[f"calibration_error_{name}"] = _calibration(name, logits, labels, explained.generator())
        sentence = (
            f"Clean outputs lie {interval_text(figures['tv_label_clean'])} from the label in total variation, "
            f"adversarial ones {interval_text(figures['tv_label_adversarial'])}, and "
            f"{interval_text(figures['tv'])} from each other; their confidence is off by "
            f"{interval_text(figures['calibration_error_clean'])} and "
            f"{interval_text(figures['calibration_error_adversarial'])}."
        )
        margins = {"clean": values["margin_clean"][0].tolist(), "adversarial": values["margin_adversarial"][0].tolist()}
        sees = "Right of 0 an image is right; what the attack moves across is broken."
        picture = Picture("histogram", "Margins of the true class", sees, margins, ("margin", "images"))
        return Insight(sentence, figures, [picture], {name: each.tolist() for name, (each, _, _) in values.items()})


def _calibration(name: str, logits: Tensor, labels: Tensor, generator: torch.Generator) -> Figure:
    says = f"calibration error, 15 bins of equal mass, {name}"
    error = partial(_error_of, logits, labels)
    return resampled(error, len(labels), says, generator, "low", reflected=True)


def _error_of(logits: Tensor, labels: Tensor, places: Tensor) -> float:
    return calibration_error(logits[places], labels[places])
