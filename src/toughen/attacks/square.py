"""Square (Andriushchenko et al. 2020), run by pyautoattack: an attack that sees logits and no gradient."""

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from toughen.attacks.base import Attack, AttackResult
from toughen.attacks.lean_square import PARTS, REACH, LeanSquare
from toughen.models.inference import frozen
from toughen.models.replica import for_queries
from toughen.random_state import own_random_state
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class Square(Attack):
    """Square (Andriushchenko et al. 2020), which sees logits and no gradient; its squares shrink over all queries.

    Images are identical to those of pyautoattack's `SquareAttack(model, norm=..., eps=..., p_init=0.8,
    n_queries=queries, seed=seed, resc_schedule=True).perturb(images, labels)`, where `seed` is the generator's own:
    images that are misclassified already come back as they are.

    Attributes:
        queries: for each image; AutoAttack's own has 5,000.
        lean: nearly the same verdicts, sooner; see `LeanSquare`.
    """

    queries: int = 5000
    lean: bool = False

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The number of queries, over which the schedule of the square's size is stretched."""
        runs = {"queries": self.queries, "restarts": 1, "rescaled_schedule": True}
        lean = (
            {"lean": {"square_parts": PARTS, "square_reach": REACH}}
            if self.lean and threat.library_norm == "Linf"
            else {}
        )
        return {"attack": "Square", "library": "pyautoattack", **runs, **lean}

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
