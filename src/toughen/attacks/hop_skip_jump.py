"""HopSkipJump (Chen et al. 2020) by Foolbox: an attack that sees only the predicted class."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from toughen.attacks.base import Attack, AttackResult
from toughen.extras import library
from toughen.models.inference import classes_of
from toughen.models.mode import attacked
from toughen.random_state import seeded
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class HopSkipJump(Attack):
    """HopSkipJump within a number of queries.

    The library's attack starts from a misclassified image and walks along the decision boundary towards the given one.
    It minimises the l-inf norm where that is the threat model's, else the l2 norm. Of all images that it asks for, the
    nearest misclassified one counts, in the threat model's norm. An image is done once that lies in the ball.

    Attributes:
        queries: for each image, after the start was chosen.
        candidates: images to start from, M x C x H x W, on the model's device; by default those that are attacked. Each
            image starts from the nearest one that the model takes for another class than the image's label, and is left
            alone where there is none.
    """

    queries: int = 5000
    candidates: Tensor | None = None

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The number of queries."""
        return {"attack": "HopSkipJump", "library": "foolbox", "queries": self.queries}

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch."""
        adversarial, doubts = images.clone(), []
        candidates = images if self.candidates is None else self.candidates
        starts = nearest_wrong(model, images, labels, candidates, threat)
        rows = (starts >= 0).nonzero().squeeze(1)
        if len(rows) < len(images):
            doubts.append(f"{len(images) - len(rows)} images were left alone: nothing to start from was misclassified")
        if len(rows):
            oracle = _Oracle(model, images[rows], labels[rows], threat, self.queries)
            with attacked(model), seeded(generator.initial_seed()):
                whole = _walk(oracle, candidates[starts[rows]])
            if not whole:
                doubts.append("the attack ended early: the model answers the same question differently")
            inside = threat.contains(oracle.nearest, images[rows])
            adversarial[rows[inside]] = oracle.nearest[inside]
        return AttackResult(adversarial, warnings=tuple(doubts))


def _walk(oracle: "_Oracle", starts: Tensor) -> bool:
    """Let the library ask the oracle until that has had enough; False where it stopped before."""
    foolbox, eagerpy = library("foolbox", "foolbox"), library("eagerpy", "foolbox")

    class PerImage(foolbox.attacks.HopSkipJumpAttack):  # type: ignore[name-defined]
        def approximate_gradients(self, *arguments: Any) -> Any:
            # Foolbox 3.3.4 divides by the norm over the whole batch, which shortens each image's step.
            gradients = super().approximate_gradients(*arguments)
            norms = eagerpy.norms.l2(foolbox.devutils.flatten(gradients), axis=1)
            return gradients / foolbox.devutils.atleast_kd(norms + 1e-12, gradients.ndim)

    constraint = "linf" if oracle.threat.bounds_each_pixel else "l2"
    # The oracle ends the attack: every step asks at least once.
    attack = PerImage(steps=oracle.queries + 1, constraint=constraint)
    model = foolbox.PyTorchModel(oracle.eval(), bounds=(0, 1), device=starts.device)
    broken = foolbox.criteria.Misclassification(eagerpy.astensor(oracle.labels))
    try:
        attack.run(model, eagerpy.astensor(oracle.images), broken, starting_points=eagerpy.astensor(starts))
    except _Enough:
        return True
    except (AssertionError, ValueError):
        # It requires that a point which was misclassified once stays so; what has been found until then counts.
        return False
    return True


class _Enough(Exception):
    """The queries are spent, or every image is broken."""


class _Oracle(nn.Module):
    """Answers with classes only, as one-hot logits, and remembers the nearest misclassified image that was asked for.

    Every question is about all images at once, in their order.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, queries: int) -> None:
        super().__init__()
        self.model, self.images, self.labels, self.threat, self.queries = model, images, labels, threat, queries
        self.nearest, self.norms = images.clone(), torch.full(labels.shape, math.inf, device=images.device)
        self.asked = 0

    def forward(self, asked: Tensor) -> Tensor:
        """1 for the class and 0 for the others; a second class stands for all others."""
        if self.asked >= self.queries or bool((self.norms <= self.threat.radius).all()):
            raise _Enough
        self.asked += 1
        wrong = classes_of(self.model, asked) != self.labels
        norms = self.threat.norm_of(asked - self.images)
        allowed = ((asked >= 0) & (asked <= 1)).flatten(1).all(1)
        nearer = wrong & allowed & (norms < self.norms)
        self.norms = torch.where(nearer, norms, self.norms)
        self.nearest = torch.where(nearer.view(-1, 1, 1, 1), asked, self.nearest)
        classes = torch.where(wrong, self.labels + 1, self.labels)
        return nn.functional.one_hot(classes, int(self.labels.max()) + 2).float()


def nearest_wrong(model: nn.Module, images: Tensor, labels: Tensor, given: Tensor, threat: ThreatModel) -> Tensor:
    """For each image the place of the nearest candidate whose class is not its label; -1 where there is none.

    Args:
        model: classifies the candidates.
        images: N x C x H x W.
        labels: int64, (N,).
        given: the candidates, M x C x H x W.
        threat: whose norm says what is near.
    """
    classes = torch.cat([classes_of(model, part) for part in given.split(max(1, len(images)))])
    places = []
    for image, label in zip(images, labels, strict=True):
        distances = threat.norm_of(given - image).masked_fill(classes == label, math.inf)
        nearest = int(distances.argmin())
        places.append(nearest if bool(distances[nearest].isfinite()) else -1)
    return torch.tensor(places, dtype=torch.int64, device=images.device)
