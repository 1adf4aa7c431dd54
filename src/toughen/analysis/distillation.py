"""What does the network take from the one that it learns from or beside?"""

import torch

from toughen.analysis.explanation import Explained, Explanation, Insight, interval_text, mean_of, share_of
from toughen.analysis.features import features_of
from toughen.analysis.measures.features import linear_cka
from toughen.analysis.measures.outputs import total_variation
from toughen.losses import kl
from toughen.models.inference import frozen


class Distillation(Explanation):
    """Agreement of a network with its guide on clean and adversarial images, and the likeness of their features.

    AR-AT's paper reads defences by distillation (LBGAT, HAT) as its own stop-gradient: the guide, on clean images, is
    not pulled towards the adversarial ones.
    """

    title = "Distillation"
    source = "Waseda et al. 2025 (AR-AT); Cui et al. 2021 (LBGAT); Rade & Moosavi-Dezfooli 2022 (HAT)"
    passes = 4.0

    def explain(self, explained: Explained) -> Insight | None:
        """Agreement with each guide; None for a method without one."""
        if explained.training is None or not explained.training.guide:
            return None
        name, guide = next(iter(explained.training.guide.items()))
        clean, adversarial = explained.logits()
        with frozen(guide, explained.images.device) as still:
            beside = Explained(**{**vars(explained), "model": still})
            told, told_adversarial = beside.logits()
            theirs = features_of(beside)
        labels = explained.labels.cpu()
        figures = {
            "guide_clean": share_of(told.argmax(1) == labels, f"{name} right, clean", "high"),
            "guide_adversarial": share_of(told_adversarial.argmax(1) == labels, f"{name} right under the attack"),
            "agreement_clean": share_of(told.argmax(1) == clean.argmax(1), "same class on clean images"),
            "agreement_adversarial": share_of(
                told.argmax(1) == adversarial.argmax(1), f"adversarial images on which it says what {name} says clean"
            ),
            "tv_clean": mean_of(total_variation(told, clean), "total variation of clean outputs"),
            "kl_guide_adversarial": mean_of(kl(told, adversarial), f"KL({name} clean || adversarial)"),
        }
        own = features_of(explained)
        if own is not None and theirs is not None:
            figures["cka_clean"] = mean_of(torch.tensor([linear_cka(theirs[0], own[0])]), "CKA of clean features")
            figures["cka_adversarial"] = mean_of(
                torch.tensor([linear_cka(theirs[0], own[1])]), f"CKA, adversarial features to {name}'s clean ones"
            )
        sentence = (
            f"On clean images the network says what {name} says for {interval_text(figures['agreement_clean'])} of "
            f"them, on adversarial ones for {interval_text(figures['agreement_adversarial'])}."
        )
        return Insight(sentence, figures)
