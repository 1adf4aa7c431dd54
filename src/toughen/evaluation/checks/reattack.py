"""A few images attacked again, weaker and stronger than the evaluation did: what the self-checks compare."""

from typing import Any

import torch
from torch import Tensor

from toughen.attacks.pgd import PGD
from toughen.attacks.square import Square
from toughen.errors import InputError
from toughen.evaluation.analyses.base import Analysis, AnalysisContext
from toughen.evaluation.verify import Clean
from toughen.losses import LabelledLoss
from toughen.models.inference import classes_of
from toughen.threat import ThreatModel

# Without a bound: ten wide steps break nearly all images, the rest gets forty shorter ones.
_UNBOUNDED = (10, 40)


class SelfChecks(Analysis):
    """Attack a sample of the images again, for the checks of `toughen.evaluation.checks`.

    Every attack is PGD with one run, which keeps the best point that it meets. Loss and number of steps are those of
    the evaluation's first attack of several steps (without one: the margin, 20). The result has a text of 0 and 1,
    whether each image held, for each of:

    - `clean`: no attack;
    - `noise`: the worst of `draws` points drawn uniformly from the ball;
    - `eps`, `double_eps`: PGD at the evaluation's radius, and at twice that;
    - `more_steps`: PGD with four times the steps, at least 40;
    - `unbounded_ce`, `unbounded_margin`: PGD from the clean image with a radius that reaches every image, up the
      cross-entropy and the margin. It has no random start, because noise of that size also fools a model that has no
      gradient;
    - `square`: Square, which sees no gradient, on the images that `eps` and `more_steps` left.

    That is at most 245 forward and backward passes an image after PGD-20; on a sound model about 150; and
    `queries` passes forward for each image that they leave.

    Args:
        images: how many of the evaluated images, drawn by class.
        draws: points of noise an image.
        queries: of Square.
    """

    def __init__(self, images: int = 100, draws: int = 20, queries: int = 500) -> None:
        if images < 1 or draws < 1 or queries < 1:
            raise InputError(
                f"self_checks: expected at least 1 image, 1 draw and 1 query, got {images}, {draws} and {queries}"
            )
        self.images = images
        self.draws = draws
        self.queries = queries

    def run(self, context: AnalysisContext) -> dict[str, Any]:
        """Whether each image held under each of the attacks, with their loss, steps and radii."""
        loss, steps = _of_the_evaluation(context)
        more = max(4 * steps, 40)
        held: dict[str, str] = {}
        for seed, clean in context.judged(self.images):
            for name, rows in self._batch(context, clean, loss, steps, more, seed).items():
                held[name] = held.get(name, "") + "".join("01"[row] for row in rows.int().tolist())
        return {
            "indices": context.sample(self.images).tolist(),
            "loss": loss,
            "steps": steps,
            "more_steps": more,
            "eps": context.threat.radius,
            "double_eps": context.threat.scaled(2).radius,
            "held": held,
        }

    def _batch(
        self, context: AnalysisContext, clean: Clean, loss: LabelledLoss, steps: int, more: int, seed: int
    ) -> dict[str, Tensor]:
        images, labels, threat = clean.batch.images, clean.batch.labels, context.threat
        generator = torch.Generator(images.device).manual_seed(seed)

        def under(attack: PGD, radius: ThreatModel, left: Tensor = clean.right) -> Tensor:
            """Which of the images that are left hold."""
            held, rows = left.clone(), left.nonzero().squeeze(1)
            if len(rows):
                found = attack(context.model, images[rows], labels[rows], radius, generator)
                held[rows] = classes_of(context.model, found) == labels[rows]
            return held

        found = {
            "clean": clean.right,
            "noise": self._noise(context, clean, generator),
            "eps": under(PGD(steps, keep_best=True, loss=loss), threat),
            "double_eps": under(PGD(steps, keep_best=True, loss=loss), threat.scaled(2)),
            "more_steps": under(PGD(more, keep_best=True, loss=loss), threat),
        }
        losses: tuple[LabelledLoss, ...] = ("ce", "margin")
        for climbed in losses:
            left = clean.right
            for count in _UNBOUNDED:
                attack = PGD(count, start="clean", keep_best=True, loss=climbed)
                left = under(attack, threat.unbounded(images), left)
            found[f"unbounded_{climbed}"] = left
        found["square"] = self._square(context, clean, found["eps"] & found["more_steps"], seed)
        return found

    def _square(self, context: AnalysisContext, clean: Clean, left: Tensor, seed: int) -> Tensor:
        images, labels = clean.batch.images, clean.batch.labels
        held, rows = clean.right.clone(), left.nonzero().squeeze(1)
        if len(rows):
            x, y = images[rows], labels[rows]
            generator = torch.Generator(x.device).manual_seed(seed)
            found = Square(self.queries)(context.model, x, y, context.threat, generator)
            held[rows] = classes_of(context.model, context.threat.project(found, x)) == y
        return held

    def _noise(self, context: AnalysisContext, clean: Clean, generator: torch.Generator) -> Tensor:
        images, labels = clean.batch.images, clean.batch.labels
        worst, held = images.clone(), clean.right.clone()
        for _ in range(self.draws):
            points = context.threat.random_start(images, generator)
            broken = held & (classes_of(context.model, points) != labels)
            worst[broken] = points[broken]
            held &= ~broken
        # Looked at once more, as every attack's images are: one unlucky pass of a random model is not enough.
        return clean.right & (held | (classes_of(context.model, worst) == labels))


def _of_the_evaluation(context: AnalysisContext) -> tuple[LabelledLoss, int]:
    """Loss and steps of its first attack of several steps that sees all images."""
    for attack in context.attacks:
        settings = attack.settings(context.threat)
        if settings["attack"] == "PGD" and settings["steps"] > 1 and not attack.survivors_only:
            return settings["loss"], settings["steps"]
    return "margin", 20
