"""From a model, images and a threat model to a verdict an image and the figures that follow from them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from toughen.batch import Batch
from toughen.data.source import ImageSet, Split
from toughen.errors import InputError, did_you_mean
from toughen.evaluation.budgets import Budget, attacks_of
from toughen.evaluation.doubts import model_doubts, verdict_doubts
from toughen.evaluation.gallery import Gallery
from toughen.evaluation.inference import choose_device, frozen
from toughen.evaluation.judge import judge
from toughen.evaluation.provenance import data_facts, model_facts, versions
from toughen.evaluation.verdicts import SCHEMA, Verdicts, verdict_schema
from toughen.run import RunFolder, atomic
from toughen.threat import ThreatModel

Sample = Literal["first", "random"]
"""The first images of a split, or some drawn at random by the evaluation's seed."""

Progress = Callable[[int, int, str], None]
"""Called as each attack starts on a batch: images done, images in all, name of the attack."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        verdicts: one row an image; all figures derive from it.
        result: figures with intervals and the whole protocol, as plain data for `result.json`.
        gallery: a few images for the report; see `Gallery.tensors`.
    """

    verdicts: Verdicts
    result: dict[str, Any]
    gallery: dict[str, Tensor]

    def save(self, folder: RunFolder) -> None:
        """Write verdicts.parquet, gallery.safetensors and, last, result.json.

        Raises:
            RunError: the disk cannot be written.
        """
        folder.result.unlink(missing_ok=True)
        self.verdicts.write(folder.verdicts)
        folder.gallery.unlink(missing_ok=True)
        if self.gallery:
            with atomic(folder.gallery) as path:
                save_file(self.gallery, path)
        folder.write_result(self.result)


def choose_images(n_total: int, test_images: int | None, sample: Sample, seed: int) -> Tensor:
    """Which images of a split are evaluated, in which order: int64 (n,).

    A random sample of n is the beginning of one of m > n with the same seed.

    Raises:
        InputError: an empty split, no image asked for or more than there are, an unknown way to sample.

    >>> choose_images(5, 3, "first", seed=0)
    tensor([0, 1, 2])
    """
    if sample not in get_args(Sample):
        raise InputError(f"sample: unknown {sample!r}; {did_you_mean(str(sample), get_args(Sample))}")
    n = n_total if test_images is None else test_images
    if not 1 <= n <= n_total:
        raise InputError(f"test_images: expected 1 .. {n_total} (the split has {n_total} images), got {n}")
    if sample == "first":
        return torch.arange(n)
    return torch.randperm(n_total, generator=torch.Generator().manual_seed(seed))[:n]


def evaluate_model(
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    *,
    budget: Budget = "standard",
    test_images: int | None = None,
    sample: Sample = "first",
    seed: int = 0,
    batch_size: int = 250,
    device: str | torch.device = "auto",
    split: Split = "test",
    progress: Progress | None = None,
) -> Evaluation:
    """Attack a model with every attack of a budget and say on which images it held.

    The images are taken in batches of `batch_size`; the attacks on a batch are seeded with `seed` plus the
    position of its first image, so a part of the evaluation gives the same rows as the whole. The model is
    judged in eval mode and fp32 and is left as it was.

    Args:
        model: images in [0, 1] to logits.
        images: the images to choose from, with their labels and classes.
        threat: what the attacker may do.
        budget: quick or standard; see `Budget`.
        test_images: number of images, default all.
        sample: the first ones, or drawn at random by `seed`.
        seed: of the sample and the attacks.
        batch_size: images attacked together.
        device: auto, cpu, cuda or cuda:N.
        split: which split `images` is, for the record.
        progress: told of each step.

    Raises:
        InputError: images, labels or the model's outputs that do not fit each other; a setting out of range.
    """
    if batch_size < 1:
        raise InputError(f"batch_size: expected at least 1, got {batch_size}")
    num_classes, where = len(images.classes), choose_device(device)
    attacks = attacks_of(budget, num_classes)
    chosen = choose_images(len(images), test_images, sample, seed)
    batches = chosen.split(batch_size)
    protocol: dict[str, Any] = {
        "threat": {"norm": threat.norm, "eps": threat.radius},
        "budget": budget,
        "attacks": {attack.name: attack.settings(threat) for attack in attacks},
        "n": len(chosen),
        "sample": sample,
        "seed": seed,
        "batch_size": batch_size,
        "data": data_facts(images, split, batches),
        "model": model_facts(model),
    }
    composite = [attack.name for attack in attacks if attack.composite]
    schema = verdict_schema([attack.name for attack in attacks], composite, protocol)
    gallery, parts, doubts = Gallery(), list[Verdicts](), list[str]()
    seconds = dict.fromkeys([attack.name for attack in attacks], 0.0)
    with frozen(model, where) as judged:
        for position, indices in zip(range(0, len(chosen), batch_size), batches, strict=True):
            batch = Batch(*images.subset(indices), indices)
            batch.check(num_classes)
            if position == 0:
                doubts += model_doubts(judged, batch.images.to(where), num_classes)
            before = partial(progress, position, len(chosen)) if progress else None
            judgement = judge(
                judged, batch, threat, attacks, seed=seed + position, device=where, before=before
            )
            parts.append(Verdicts(judgement.rows(schema)))
            gallery.add(judgement)
            for name, outcome in judgement.outcomes.items():
                seconds[name] += outcome.seconds
                doubts += outcome.warnings
    verdicts = Verdicts.join(parts)
    doubts += verdict_doubts(verdicts)
    result = {
        "schema": SCHEMA,
        "robust_accuracy": verdicts.robust_accuracy(),
        "figures": {name: verdicts.accuracy(name) for name in ("clean", *verdicts.attacks)},
        **protocol,
        "versions": versions(where),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "warnings": list(dict.fromkeys(doubts)),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Evaluation(verdicts, result, gallery.tensors())
