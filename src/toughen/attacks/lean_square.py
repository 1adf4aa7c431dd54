"""Square (Andriushchenko et al. 2020) in l-inf, without the queries that change nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from pyautoattack.square import SquareAttack
from torch import Tensor

from toughen.losses import margin

PARTS = 10
"""Parts of the queries; after each it is asked which images are out of reach."""
REACH = 0.5
"""Parts of all queries that the rest of them is worth, if each took as much of a margin as those before it."""
MOVES = 5
"""Times that a margin must have fallen before anything follows from how far."""


class LeanSquare:
    """The library's l-inf form, with its settings and its random numbers.

    In l-inf every proposal sets a square to one side of the ball, `clip(x - eps, 0, 1)` or `clip(x + eps, 0, 1)`, by
    channel. Where the square is there already, the image is one whose margin is known; the library asks all the same,
    in a third of its queries on grey images and a tenth on coloured ones. Up to here squares, margins and verdicts are
    the library's up to rounding.

    An image is out of reach where the queries so far have taken so little of its margin that the rest of them will not
    take the rest of it. The squares shrink, so later queries take less: of a linear model with random weights, where
    fine squares are worth as much as they can be, those after q of n queries take less than `REACH n / q` times what
    these took; decision 17 has trained networks. Such an image is left, unless another image of the batch is broken:
    then gradients had missed something, and every image is asked for to the last query.

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
        search = _Search.of(low, high, best, labels, -margin(attack.predict(best), labels))
        squares = self._squares(images)
        size = max(1, -(-len(squares) // PARTS))
        parts = [squares[first : first + size] for first in range(0, len(squares), size)]
        asked = torch.zeros(len(images), dtype=torch.long, device=images.device)  # parts
        for number, part in enumerate(parts, 1):
            wanted = asked == number - 1
            self._ask(search, part, wanted)
            asked[wanted & ~search.out_of_reach(number * size / len(squares))] = number
        if bool((search.margins <= 0).any()):
            for number, part in enumerate(parts, 1):
                self._ask(search, part, asked < number - 1)
        return search.best

    def _ask(self, search: "_Search", squares: Sequence["_Square"], wanted: Tensor) -> None:
        """Propose squares in turn for the wanted images, bool (N,), as long as they hold."""
        best, margins, labels = search.best, search.margins, search.labels
        for square in squares:
            rows = (wanted & (margins > 0)).nonzero().squeeze(1)
            if not len(rows):
                break
            upper, lower = (side[square.where][rows] for side in (search.high, search.low))
            values = torch.where(square.upwards, upper, lower)
            changes = (values != best[square.where][rows]).flatten(1).any(1)
            rows, values = rows[changes], values[changes]
            if not len(rows):
                continue
            proposed = best[rows]
            proposed[square.where] = values
            found = -margin(self.attack.predict(proposed), labels[rows])
            better = (found < margins[rows]) | (found <= 0)
            margins[rows[better]] = found[better]
            best[rows[better]] = proposed[better]
            search.moves[rows[better]] += 1

    def _squares(self, images: Tensor) -> list["_Square"]:
        """One for each query."""
        channels, height, width = images.shape[1:]
        shares = torch.tensor([self.attack.p_selection(query) for query in range(self.attack.n_queries)]).double()
        sides = (shares * height * width).sqrt().round().long().clamp(1, min(height, width))
        # In one call the same numbers as in three calls for each query.
        draws = torch.rand(len(sides), 2 + channels)
        room = torch.stack([height - sides, width - sides], dim=1)
        corners = (draws[:, :2] * room).long()
        upwards = (draws[:, 2:] > 0.5).to(images.device).view(-1, channels, 1, 1)
        return [
            _Square((slice(None), slice(None), slice(top, top + side), slice(left, left + side)), up)
            for (top, left), side, up in zip(corners.tolist(), sides.tolist(), upwards, strict=True)
        ]


@dataclass
class _Search:
    """How far the search is: the sides of the ball, and the best images yet with their margins, changed in place."""

    low: Tensor
    high: Tensor
    best: Tensor
    labels: Tensor
    margins: Tensor
    began: Tensor
    moves: Tensor

    @classmethod
    def of(cls, low: Tensor, high: Tensor, best: Tensor, labels: Tensor, margins: Tensor) -> "_Search":
        """Before the first query."""
        return cls(low, high, best, labels, margins, margins.clone(), torch.zeros_like(labels))

    def out_of_reach(self, share: float) -> Tensor:
        """Which images will hold, bool (N,), after this share of the queries; see `LeanSquare`."""
        return (self.moves >= MOVES) & (self.margins * share > REACH * (self.began - self.margins))


class _Square(NamedTuple):
    """Where one lies in a tensor N x C x H x W, and for each channel, (C, 1, 1), whether it becomes the upper side."""

    where: tuple[slice, ...]
    upwards: Tensor
