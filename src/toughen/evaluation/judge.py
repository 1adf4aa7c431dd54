"""One batch under every attack of a budget: the rows of its images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from toughen.batch import Batch
from toughen.errors import InputError
from toughen.evaluation.budgets import Attempt, NamedAttack
from toughen.evaluation.inference import predict
from toughen.threat import ThreatModel

# Attacks that sum a norm in another order than ThreatModel may end this much outside the ball, relative to
# eps.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Outcome:
    """What one attack achieved on a batch; tensors are on the CPU.

    Attributes:
        held: bool (N,), whether the image is right when clean and was right under the attack.
        norm: size of the perturbation, (N,).
        broken_by: component that broke each image, or None for an attack of one piece.
        adversarial: the attack's images; the clean image where that was misclassified already.
        predictions: classes of these.
        seconds: time it took.
        warnings: doubts that arose.
    """

    held: Tensor
    norm: Tensor
    broken_by: list[str | None] | None
    adversarial: Tensor
    predictions: Tensor
    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Judgement:
    """A batch (on the CPU) with its clean predictions and every attack's outcome by name."""

    batch: Batch
    predictions: Tensor
    outcomes: dict[str, Outcome]

    @property
    def clean(self) -> Tensor:
        """Whether each image is right without an attack."""
        return self.predictions == self.batch.labels

    def rows(self, schema: pa.Schema) -> pa.Table:
        """The batch's rows of the verdict table."""
        columns: dict[str, Any] = {
            "index": self.batch.indices,
            "label": self.batch.labels,
            "clean_prediction": self.predictions,
            "clean": self.clean,
        }
        for name, outcome in self.outcomes.items():
            columns[name] = outcome.held
            columns[f"{name}_norm"] = pa.array(outcome.norm.numpy(), mask=outcome.held.numpy())
            if outcome.broken_by is not None:
                columns[f"{name}_broken_by"] = outcome.broken_by
        arrays = [
            pa.array(values.numpy() if isinstance(values, Tensor) else values, type=field.type)
            for field in schema
            for values in [columns[field.name]]
        ]
        return pa.Table.from_arrays(arrays, schema=schema)


def judge(
    model: nn.Module,
    batch: Batch,
    threat: ThreatModel,
    attacks: Sequence[NamedAttack],
    *,
    seed: int,
    device: torch.device,
    before: Callable[[str], None] | None = None,
) -> Judgement:
    """Attack one batch with every attack and look at each result once more.

    Args:
        model: frozen on `device` (see `frozen`).
        batch: on the CPU, with indices.
        threat: norm and radius.
        attacks: in the order in which they run; none sees another's result.
        seed: each attack starts from a generator of this seed, so a batch's rows depend on nothing before it.
        device: where to compute.
        before: called with an attack's name as it starts.

    Raises:
        InputError: an attack returned images that the threat model does not allow.
    """
    images, labels = batch.images.to(device), batch.labels.to(device)
    predictions = predict(model, images)
    clean = predictions == labels
    outcomes = {}
    for attack in attacks:
        if before is not None:
            before(attack.name)
        started = perf_counter()
        attempt = attack.run(model, images, labels, threat, torch.Generator(device).manual_seed(seed))
        outcomes[attack.name] = _verify(attack.name, attempt, model, images, labels, clean, threat, started)
    return Judgement(batch, predictions.cpu(), outcomes)


def _verify(
    name: str,
    attempt: Attempt,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    clean: Tensor,
    threat: ThreatModel,
    started: float,
) -> Outcome:
    adversarial = torch.where(clean.view(-1, 1, 1, 1), attempt.adversarial, images)
    norm = threat.norm_of(adversarial - images)
    _check_allowed(name, adversarial, images, norm, threat)
    predictions = predict(model, adversarial)
    right = predictions == labels
    held = clean & right
    warnings = attempt.warnings
    if attempt.held is not None:
        if bool((clean & ~attempt.held & right).any()):
            warnings += (
                f"{name} broke images that are classified correctly when looked at again (counted as "
                "broken): the model is not deterministic",
            )
        held = held & attempt.held
    return Outcome(
        held=held.cpu(),
        norm=norm.cpu(),
        broken_by=_components(attempt.broken_by, clean, held),
        adversarial=adversarial.cpu(),
        predictions=predictions.cpu(),
        seconds=perf_counter() - started,
        warnings=warnings,
    )


def _components(broken_by: list[str | None] | None, clean: Tensor, held: Tensor) -> list[str | None] | None:
    if broken_by is None:
        return None
    names = zip(broken_by, clean.tolist(), held.tolist(), strict=True)
    return [None if holds else name or "recheck" if right else "clean" for name, right, holds in names]


def _check_allowed(name: str, adversarial: Tensor, images: Tensor, norm: Tensor, threat: ThreatModel) -> None:
    limit = threat.radius * (1 + _ROUNDING) + threat.slack(images)
    inside = (norm <= limit) & ((adversarial >= 0) & (adversarial <= 1)).flatten(1).all(dim=1)
    if not bool(inside.all()):
        raise InputError(
            f"{name}: {int((~inside).sum())} of {len(images)} images leave the threat model {threat}: "
            f"largest norm {norm.max().item():.6g}, values in [{adversarial.min().item():.4g}, "
            f"{adversarial.max().item():.4g}]; expected images of the ball in [0, 1]"
        )
