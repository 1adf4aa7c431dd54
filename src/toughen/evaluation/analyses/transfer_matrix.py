"""Adversarial images of every model, shown to every model."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toughen.attacks.transfer import Transfer, check_source
from toughen.batch import Batch
from toughen.data.source import ImageSet
from toughen.errors import InputError
from toughen.evaluation.records.verdicts import figure
from toughen.evaluation.statistics.intervals import holm, mcnemar
from toughen.evaluation.verify import judge_clean
from toughen.hardware.device import find_device
from toughen.models.inference import classes_of, frozen
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class TransferMatrix:
    """What each model keeps of its accuracy under the adversarial images of each.

    Attributes:
        names: of the models.
        clean: whether a model is right without an attack, bool (models, images).
        held: whether the second model is right without an attack and under the images that were crafted on the first,
            bool (models, models, images). On the diagonal the attack knows the model that it attacks.
        attack: settings of the attack.
    """

    names: tuple[str, ...]
    clean: NDArray[np.bool_]
    held: NDArray[np.bool_]
    attack: dict[str, Any]

    @property
    def n(self) -> int:
        """Number of images."""
        return int(self.clean.shape[1])

    def clean_figure(self, model: int) -> dict[str, Any]:
        """A model without an attack; see `verdicts.figure`."""
        return figure(self.clean[model])

    def figure(self, source: int, target: int) -> dict[str, Any]:
        """Model `target` under the images crafted on model `source`; see `verdicts.figure`."""
        return figure(self.held[source, target])

    def suspects(self, alpha: float = 0.05) -> list[tuple[str, str]]:
        """Pairs (source, target) whose target another model's images break more often than its own do.

        An attack that knows the model cannot be the weaker one by more than chance unless the model's gradients mislead
        it. Exact McNemar test of each such pair, Holm-corrected for all pairs.

        Args:
            alpha: the chance of any false finding that is accepted.
        """
        count = len(self.names)
        pairs = [(s, t) for s in range(count) for t in range(count) if s != t]
        corrected = holm([mcnemar(self.held[t, t], self.held[s, t]) for s, t in pairs])
        return [
            (self.names[s], self.names[t])
            for (s, t), p in zip(pairs, corrected, strict=True)
            if p < alpha and self.held[s, t].sum() < self.held[t, t].sum()
        ]


def transfer_matrix(
    models: Mapping[str, nn.Module],
    images: ImageSet,
    indices: Tensor,
    threat: ThreatModel,
    *,
    seed: int = 0,
    batch_size: int = 250,
    device: str | torch.device = "auto",
    progress: Callable[[str], None] | None = None,
) -> TransferMatrix:
    """Craft the images of `Transfer` on each model and show them to every model.

    Each figure is the one that an evaluation with `transfer`, the same seed and batch size, gives.

    Args:
        models: by name; images in [0, 1] to logits. They are judged in eval mode and fp32 and left as they were.
        images: the split that the images come from.
        indices: their places in it, int64 (N,).
        threat: what the attacker may do.
        seed: the attack on a batch is seeded with it plus the position of the batch's first image.
        batch_size: images attacked together.
        device: auto, cpu, cuda or cuda:N.
        progress: told the name of each model before its images are crafted.

    Raises:
        InputError: fewer than two models, or one that cannot take the images.
    """
    if len(models) < 2:
        raise InputError(f"transfer: expected at least two models to show each other's images, got {len(models)}")
    where, names = find_device(device), tuple(models)
    batches = [Batch(*images.subset(part), part) for part in indices.split(batch_size)]
    for batch in batches:
        batch.check(len(images.classes))
    attacks = [Transfer(model, name) for name, model in models.items()]
    with ExitStack() as stack:
        judged = [stack.enter_context(frozen(model, where)) for model in models.values()]
        for name, model in zip(names, judged, strict=True):
            check_source(name, model, batches[0].images.to(where), len(images.classes))
        clean = np.stack([_right(model, batches, where) for model in judged])
        held = []
        for attack, source in zip(attacks, judged, strict=True):
            if progress is not None:
                progress(attack.of)
            held.append(_under(attack, source, judged, batches, threat, seed, where) & clean)
    return TransferMatrix(names, clean, np.stack(held), attacks[0].attack.settings(threat))


def _right(model: nn.Module, batches: list[Batch], device: torch.device) -> NDArray[np.bool_]:
    return torch.cat([judge_clean(model, batch, device).right.cpu() for batch in batches]).numpy()


def _under(
    attack: Transfer,
    source: nn.Module,
    models: list[nn.Module],
    batches: list[Batch],
    threat: ThreatModel,
    seed: int,
    device: torch.device,
) -> NDArray[np.bool_]:
    """Whether each model is right on the attack's images, bool (models, images)."""
    parts, position = [], 0
    for batch in batches:
        placed = batch.to(device)
        generator = torch.Generator(device).manual_seed(seed + position)
        attempt = attack.run(source, placed.images, placed.labels, threat, generator)
        right = [classes_of(model, attempt.adversarial) == placed.labels for model in models]
        parts.append(torch.stack(right).cpu())
        position += len(batch.images)
    return torch.cat(parts, dim=1).numpy()
