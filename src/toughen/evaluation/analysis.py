"""What an evaluation may look at beyond its attacks: anything that needs the model and gives plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from toughen.data.source import ImageSet
from toughen.evaluation.named import NamedAttack
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class Scene:
    """What an analysis works on.

    Attributes:
        model: frozen on `device`: eval mode, fp32.
        images: the split that the evaluated images come from.
        indices: places of the evaluated images in it, in the order of the verdict table.
        threat: norm and radius.
        attacks: the evaluation's attacks.
        seed: of the evaluation.
        batch_size: images to compute together.
        device: where the model is.
    """

    model: nn.Module
    images: ImageSet
    indices: Tensor
    threat: ThreatModel
    attacks: Sequence[NamedAttack]
    seed: int
    batch_size: int
    device: torch.device

    def batches(self, count: int | None = None) -> list[Tensor]:
        """Places of the first `count` evaluated images (default all), cut into batches."""
        return list(self.indices[:count].split(self.batch_size))


class Analysis(Protocol):
    """A study of the model beside the attacks, such as a curve over eps. It runs after them, in one shard.

    What follows from the verdict table alone needs none of this: it can be computed from `Verdicts` at any time.
    """

    @property
    def name(self) -> str:
        """Its key in the result's `analyses`; letters, digits and underscores."""

    def settings(self) -> dict[str, Any]:
        """Everything that is needed to run it again, as plain data; a change here makes it run again."""

    def run(self, scene: Scene) -> dict[str, Any]:
        """What it found, as plain data for result.json; all randomness comes from `scene.seed`."""
