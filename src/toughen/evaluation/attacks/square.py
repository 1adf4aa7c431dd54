"""Square (Andriushchenko et al. 2020), run by pyautoattack: an attack that sees logits and no gradient."""

import itertools

import torch
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from toughen.evaluation.attacks.lean_square import LeanSquare
from toughen.evaluation.attacks.replica import for_queries
from toughen.evaluation.inference import frozen
from toughen.evaluation.random_state import own_random_state
from toughen.threat import ThreatModel

LIBRARY_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
"""What pyautoattack calls the norms."""


def square_attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    queries: int,
    seed: int,
    lean: bool = False,
) -> Tensor:
    """Square alone, with another number of queries than AutoAttack's 5,000; its squares shrink over all of them.

    Images are identical to those of `SquareAttack(model, norm=..., eps=..., p_init=0.8, n_queries=queries, seed=seed,
    resc_schedule=True).perturb(images, labels)`: images that are misclassified already come back as they are. With
    `lean` they are the same up to rounding; see `LeanSquare`.
    """
    with frozen(model, images.device) as judged, own_random_state(), torch.no_grad():
        attack = SquareAttack(
            for_queries(judged),
            norm=LIBRARY_NORMS[threat.norm],
            eps=threat.radius,
            p_init=0.8,
            n_queries=queries,
            seed=seed,
            resc_schedule=True,
            device=images.device,
        )
        return runnable(attack, lean).perturb(images.contiguous(), labels)


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
