"""Square (Andriushchenko et al. 2020), run by pyautoattack: an attack that sees logits and no gradient."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from toughen.attacks.base import Attack, AttackResult
from toughen.losses import margin
from toughen.models.inference import frozen
from toughen.models.replica import for_queries
from toughen.random_state import own_random_state
from toughen.threat import ThreatModel


class LeanSquare:
    """The library's l-inf form, with its settings and its random numbers.

    In l-inf every proposal sets a square to one side of the ball, `clip(x - eps, 0, 1)` or `clip(x + eps, 0, 1)`, by
    channel. Where the square is there already, the image is one whose margin is known; the library asks all the same,
    in a third of its queries on grey images and a tenth on coloured ones. Squares, margins and verdicts are the
    library's up to rounding.

    Args:
        attack: the library's object; one restart, untargeted, on the margin.
    """

    def __init__(self, attack: SquareAttack) -> None:
        self.attack = attack

    def perturb(self, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, like the given ones where nothing was found."""
        attack, adversarial = self.attack, images.clone()
        attack.init_hyperparam(images)
        rows = (attack.predict(images).max(1)[1] == labels).nonzero().squeeze(1)
        torch.random.manual_seed(attack.seed)
        if len(rows):
            found = self._search(images[rows], labels[rows])
            broke = attack.predict(found).max(1)[1] != labels[rows]
            adversarial[rows[broke]] = found[broke]
        return adversarial

    def _search(self, images: Tensor, labels: Tensor) -> Tensor:
        attack, (channels, _, width) = self.attack, images.shape[1:]
        low, high = (images - attack.eps).clamp(0, 1), (images + attack.eps).clamp(0, 1)
        start = attack.random_choice([len(images), channels, 1, width])
        best = (images + attack.eps * start).clamp(0, 1)
        margins = -margin(attack.predict(best), labels)
        for square in self._squares(images):
            rows = (margins > 0).nonzero().squeeze(1)
            if not len(rows):
                break
            values = torch.where(square.upwards, high[square.where][rows], low[square.where][rows])
            changes = (values != best[square.where][rows]).flatten(1).any(1)
            rows, values = rows[changes], values[changes]
            if not len(rows):
                continue
            proposed = best[rows]
            proposed[square.where] = values
            found = -margin(attack.predict(proposed), labels[rows])
            better = (found < margins[rows]) | (found <= 0)
            margins[rows[better]] = found[better]
            best[rows[better]] = proposed[better]
        return best

    def _squares(self, images: Tensor) -> Iterator["_Square"]:
        """One for each query."""
        channels, height, width = images.shape[1:]
        shares = torch.tensor([self.attack.p_selection(query) for query in range(self.attack.n_queries)]).double()
        sides = (shares * height * width).sqrt().round().long().clamp(1, min(height, width))
        # In one call the same numbers as in three calls for each query.
        draws = torch.rand(len(sides), 2 + channels)
        room = torch.stack([height - sides, width - sides], dim=1)
        corners = (draws[:, :2] * room).long()
        upwards = (draws[:, 2:] > 0.5).to(images.device).view(-1, channels, 1, 1)
        for (top, left), side, up in zip(corners.tolist(), sides.tolist(), upwards, strict=True):
            yield _Square((slice(None), slice(None), slice(top, top + side), slice(left, left + side)), up)


class _Square(NamedTuple):
    """Where one lies in a tensor N x C x H x W, and for each channel, (C, 1, 1), whether it becomes the upper side."""

    where: tuple[slice, ...]
    upwards: Tensor


@dataclass(frozen=True)
class Square(Attack):
    """Square (Andriushchenko et al. 2020), which sees logits and no gradient; its squares shrink over all queries.

    Images are identical to those of pyautoattack's `SquareAttack(model, norm=..., eps=..., p_init=0.8,
    n_queries=queries, seed=seed, resc_schedule=True).perturb(images, labels)`, where `seed` is the generator's own:
    images that are misclassified already come back as they are.

    Attributes:
        queries: for each image; AutoAttack's own has 5,000.
        lean: the same up to rounding, sooner; see `LeanSquare`.
    """

    queries: int = 5000
    lean: bool = False

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The number of queries, over which the schedule of the square's size is stretched."""
        runs = {"queries": self.queries, "restarts": 1, "rescaled_schedule": True}
        return {"attack": "Square", "library": "pyautoattack", **runs}

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch."""
        with frozen(model, images.device) as judged, own_random_state(), torch.no_grad():
            attack = SquareAttack(
                for_queries(judged),
                norm=threat.library_norm,
                eps=threat.radius,
                p_init=0.8,
                n_queries=self.queries,
                seed=generator.initial_seed(),
                resc_schedule=True,
                device=images.device,
            )
            return AttackResult(runnable(attack, self.lean).perturb(images.contiguous(), labels))


def runnable(attack: SquareAttack, lean: bool) -> "SquareOfAnySize | LeanSquare":
    """The library's Square for images of any size; where `lean` is asked for and there is such a form, that one."""
    return LeanSquare(attack) if lean and attack.norm == "Linf" else SquareOfAnySize(attack)


class SquareOfAnySize:
    """The library's Square, also where its l2 and l1 forms end in an error.

    They lay tiles of a fifth of the height over the image, and on some sizes (such as 12, 14, 18, 19 and 24 pixels, or
    where height and width differ) the last tile lies over the edge. There the image gets a black rim that the model
    never sees, up to the next size that fits; what the attack spends on the rim is lost, so the image that is cut out
    lies in the ball.
    """

    def __init__(self, attack: SquareAttack) -> None:
        self.attack = attack

    def perturb(self, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, like the given ones where nothing was found."""
        height, width = images.shape[2:]
        if self.attack.norm == "Linf" or _tiles_fit(height, width):
            return self.attack.perturb(images, labels)
        side = next(side for side in itertools.count(max(height, width)) if _tiles_fit(side, side))
        model = self.attack.predict
        self.attack.predict = lambda padded: model(padded[:, :, :height, :width])
        try:
            padded = nn.functional.pad(images, (0, side - width, 0, side - height))
            return self.attack.perturb(padded, labels)[:, :, :height, :width].contiguous()
        finally:
            self.attack.predict = model


def _tiles_fit(height: int, width: int) -> bool:
    side = height // 5
    start = (height - 5 * side) // 2
    return side == 1 or (side > 1 and all(start + extent // side * side <= extent for extent in (height, width)))
