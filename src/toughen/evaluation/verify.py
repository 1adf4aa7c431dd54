"""One batch under one attack: what it achieved, looked at once more in fp32."""

from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

from toughen.attacks.base import PlannedAttack
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.models.inference import classify
from toughen.random_state import seeded
from toughen.threat import ThreatModel

# Attacks that sum a norm in another order than ThreatModel may end this much outside the ball, relative to eps.
_ROUNDING = 1e-5
# Of probabilities: what another batch size may change by rounding, and what no tie of two classes reaches.
_ROUNDED, _NO_TIE = 1e-3, 0.51


@dataclass(frozen=True)
class Clean:
    """A batch on the device of the model, and what the model says of it without an attack.

    Attributes:
        batch: images, labels and indices.
        predictions: classes; -1 where a logit is NaN.
        confidences: softmax probabilities of these.
    """

    batch: Batch
    predictions: Tensor
    confidences: Tensor

    @property
    def right(self) -> Tensor:
        """Whether each image is classified correctly, bool (N,)."""
        return self.predictions == self.batch.labels


@dataclass(frozen=True)
class Outcome:
    """What one attack achieved on a batch; tensors are on the CPU.

    Attributes:
        attacked: bool (N,), the images that it was given.
        held: bool (N,), whether the image is right when clean and was right under the attack; for an attack on
            survivors, whether it was a survivor and was right.
        norm: size of the perturbation, (N,); 0 where the image was not attacked.
        broken_by: component that broke each image, or None for an attack of one piece.
        adversarial: the attack's images; the clean image where that was misclassified or not attacked.
        predictions: classes of these.
        confidences: softmax probabilities of these.
        repeated: images that were attacked again in fp32.
        seconds: time it took.
        warnings: doubts that arose.
    """

    attacked: Tensor
    held: Tensor
    norm: Tensor
    broken_by: list[str | None] | None
    adversarial: Tensor
    predictions: Tensor
    confidences: Tensor
    repeated: int
    seconds: float
    warnings: tuple[str, ...]


def judge_clean(model: nn.Module, batch: Batch, device: torch.device, passes: int = 1) -> Clean:
    """The batch without an attack, on the device where `model` is frozen; `passes` as in `classify`."""
    placed = batch.to(device)
    return Clean(placed, *classify(model, placed.images, passes))


def judge(
    model: nn.Module,
    clean: Clean,
    attack: PlannedAttack,
    threat: ThreatModel,
    *,
    seed: int,
    survivors: Tensor | None = None,
    passes: int = 1,
) -> Outcome:
    """Attack one batch and look at the result once more.

    Args:
        model: frozen on the device of `clean` (see `frozen`).
        clean: the batch.
        attack: what is run.
        threat: norm and radius.
        seed: the attack starts from a generator of this seed, so a batch's rows depend on nothing before it.
        survivors: bool (N,), what the attacks before it left; by default the images that are right when clean. Only
            an attack on survivors looks at it.
        passes: of the verdict; see `classify`.

    Raises:
        InputError: the attack returned images that the threat model does not allow.
    """
    started = perf_counter()
    images, attacked = clean.batch.images, torch.ones_like(clean.right)
    if attack.survivors_only:
        attacked = clean.right if survivors is None else clean.right & survivors.to(clean.right.device)
    rows = attacked.nonzero().squeeze(1)
    held, norm = torch.zeros_like(attacked), torch.zeros_like(clean.confidences)
    adversarial, predictions, confidences = images.clone(), clean.predictions.clone(), clean.confidences.clone()
    broken_by: list[str | None] | None = [None] * len(images) if attack.attack.composite else None
    warnings: tuple[str, ...] = ()
    repeated = 0
    if len(rows):
        generator = torch.Generator(images.device).manual_seed(seed)
        attempt = attack.attack.run(model, images[rows], clean.batch.labels[rows], threat, generator)
        warnings, repeated = attempt.warnings, attempt.repeated
        # An image that was misclassified already stays as it was, whatever the attack made of it.
        right = clean.right[rows]
        adversarial[rows] = torch.where(right.view(-1, 1, 1, 1), attempt.adversarial, images[rows])
        norm[rows] = threat.norm_of(adversarial[rows] - images[rows])
        _check_allowed(attack.name, adversarial, images, norm, threat)
        predictions[rows], confidences[rows] = classify(model, adversarial[rows], passes)
        held[rows] = right & (predictions == clean.batch.labels)[rows]
        if attempt.held is not None:
            if bool((held[rows] & ~attempt.held).any()):
                warnings += (
                    f"{attack.name} broke images that are classified correctly when looked at again (counted as "
                    "broken): the model is not deterministic",
                )
            held[rows] &= attempt.held
        if attempt.broken_by is not None and broken_by is not None:
            for row, name in zip(rows.tolist(), attempt.broken_by, strict=True):
                broken_by[row] = _component(name, bool(clean.right[row]), bool(held[row]))
    return Outcome(
        attacked=attacked.cpu(),
        held=held.cpu(),
        norm=norm.cpu(),
        broken_by=broken_by,
        adversarial=adversarial.cpu(),
        predictions=predictions.cpu(),
        confidences=confidences.cpu(),
        repeated=repeated,
        seconds=perf_counter() - started,
        warnings=warnings,
    )


def judge_again(
    model: nn.Module | None,
    judged: nn.Module,
    clean: Clean,
    outcome: Outcome,
    *,
    passes: int = 1,
    seed: int = 0,
    random: bool = False,
) -> dict[str, int]:
    """The attacked images shown to a copy that was asked nothing before, last image first, in about half the batch.

    Args:
        model: the copy, frozen on the device of `clean`; None where there is none, and the judged model is asked again.
        judged: the model that was attacked.
        clean: the batch.
        outcome: what `judge` said of it.
        passes: see `classify`.
        seed: of torch's global generators, for a random model.
        random: whether it is one: then the judged model is asked once more, with the draws of the copy.

    Returns:
        dict: `n` images; how many the copy answers otherwise for (another confidence, or another class with one);
        `lost` to it of those that were right, and `won` of those that were wrong; whether it is `copied`.
    """
    rows = outcome.attacked.nonzero().squeeze(1).flip(0)
    asked = judged if model is None else model
    images = outcome.adversarial[rows].to(clean.batch.images.device)
    if not len(rows):
        return {"n": 0, "differ": 0, "lost": 0, "won": 0, "copied": int(model is not None)}

    def answers(network: nn.Module) -> tuple[Tensor, Tensor]:
        with seeded(seed):
            parts = [classify(network, part, passes) for part in images.split(len(rows) // 2 + 1)]
        return torch.cat([part[0] for part in parts]).cpu(), torch.cat([part[1] for part in parts]).cpu()

    predictions, confidences = answers(asked)
    before, sure = answers(judged) if random else (outcome.predictions[rows], outcome.confidences[rows])
    labels = clean.batch.labels.cpu()[rows]
    # A tie of two classes has at most 0.5: there rounding decides, not the model.
    another = (predictions != before) & (torch.minimum(sure, confidences) > _NO_TIE)
    moved = (sure.nan_to_num(-1) - confidences.nan_to_num(-1)).abs() > _ROUNDED
    right, held = predictions == labels, before == labels
    counts = {"differ": another | moved, "lost": held & ~right, "won": right & ~held}
    return {
        "n": len(rows),
        **{name: int(each.sum()) for name, each in counts.items()},
        "copied": int(model is not None),
    }


def _component(name: str | None, right: bool, held: bool) -> str | None:
    return None if held else name or "recheck" if right else "clean"


def _check_allowed(name: str, adversarial: Tensor, images: Tensor, norm: Tensor, threat: ThreatModel) -> None:
    limit = threat.radius * (1 + _ROUNDING) + threat.slack(images)
    inside = (norm <= limit) & ((adversarial >= 0) & (adversarial <= 1)).flatten(1).all(dim=1)
    if not bool(inside.all()):
        raise InputError(
            f"{name}: {int((~inside).sum())} of {len(images)} images leave the threat model {threat}: "
            f"largest norm {norm.max().item():.6g}, values in [{adversarial.min().item():.4g}, "
            f"{adversarial.max().item():.4g}]; expected images of the ball in [0, 1]"
        )
