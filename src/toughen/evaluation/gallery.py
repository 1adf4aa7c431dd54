"""A few images for the report, clean and under attack."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from toughen.evaluation.judge import Judgement

SIZE = 12
_BROKEN = 8


@dataclass(frozen=True)
class _Picture:
    clean: Tensor
    adversarial: Tensor
    label: int
    clean_prediction: int
    adversarial_prediction: int


@dataclass
class Gallery:
    """Collects the first images that an attack broke and the first that held, as batches pass by.

    A broken image is shown as the strongest attack left it (the last of the budget that broke it), a held one
    as the last attack that moved it did. Images that are misclassified when clean are left out.
    """

    broken: list[_Picture] = field(default_factory=list)
    held: list[_Picture] = field(default_factory=list)

    def add(self, judgement: Judgement) -> None:
        """Take what is still missing from a batch."""
        outcomes = list(judgement.outcomes.values())
        for row in judgement.clean.nonzero().squeeze(1).tolist():
            broke = [outcome for outcome in outcomes if not outcome.held[row]]
            moved = [outcome for outcome in outcomes if outcome.norm[row] > 0]
            wall = self.broken if broke else self.held
            shown = (broke or moved)[-1:]
            if len(wall) < SIZE and shown:
                wall.append(
                    _Picture(
                        judgement.batch.images[row].clone(),
                        shown[0].adversarial[row].clone(),
                        int(judgement.batch.labels[row]),
                        int(judgement.predictions[row]),
                        int(shown[0].predictions[row]),
                    )
                )

    def tensors(self) -> dict[str, Tensor]:
        """At most 12 pictures, broken ones first: two thirds broken, one third held, as far as there are any.

        Keys: `clean` and `adversarial` (n x C x H x W, fp32, in [0, 1]); `labels`, `clean_predictions` and
        `adversarial_predictions` (int64, (n,)). Empty where no image is right when clean.
        """
        broken = self.broken[: max(_BROKEN, SIZE - len(self.held))]
        pictures = broken + self.held[: SIZE - len(broken)]
        if not pictures:
            return {}
        return {
            "clean": torch.stack([picture.clean for picture in pictures]),
            "adversarial": torch.stack([picture.adversarial for picture in pictures]),
            "labels": torch.tensor([picture.label for picture in pictures]),
            "clean_predictions": torch.tensor([picture.clean_prediction for picture in pictures]),
            "adversarial_predictions": torch.tensor([picture.adversarial_prediction for picture in pictures]),
        }
