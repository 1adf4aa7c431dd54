"""Square in l-inf with the library's squares, without asking the model for what is known."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from pyautoattack.square import SquareAttack
from torch import Tensor

from toughen.losses import margin


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
