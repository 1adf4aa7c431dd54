"""FAB (Croce & Hein 2020) with a faster way to the nearest point of a hyperplane inside the box of images."""

from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from inspect import signature
from types import MethodType
from typing import Any, Literal

import torch
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor, nn

from toughen.attacks.base import Attack, AttackResult
from toughen.errors import ToughenError
from toughen.models.inference import frozen
from toughen.models.input_gradients import FiniteGradients
from toughen.random_state import own_random_state
from toughen.threat import ThreatModel

# Each pass takes at least one coordinate of each unfinished row to its side of the box; a dozen are enough in practice.
_PASSES = 100


def to_hyperplane(points: Tensor, normal: Tensor, offset: Tensor, norm: Literal["linf", "l2"]) -> Tensor:
    """The smallest d in l-inf or l2 with `normal . (points + d) = offset` and `0 <= points + d <= 1`.

    Coordinate i moves against the sign of its weight w_i by `min(lam g_i, room_i)`, where room_i is its distance to the
    side of the box and g_i is 1 (l-inf) or |w_i| (l2). What that gains, `f(lam) = sum_i |w_i| min(lam g_i, room_i)`, is
    concave, increasing and made of straight pieces, so Newton's method from 0 comes to `f(lam) = |w . x - b|` from
    below and ends on its piece. Where no point of the box lies on the hyperplane, all coordinates go as far as they
    can.

    The same as pyautoattack's `projection_linf` and `projection_l2` up to rounding. Those sort the coordinates of every
    image in every step, which takes as long as a small network's forward and backward pass.

    Args:
        points: x, images as rows, (N, D), in [0, 1].
        normal: w, (N, D).
        offset: b, (N,).
        norm: linf or l2.

    Returns:
        Tensor: d, (N, D).

    >>> to_hyperplane(torch.tensor([[0.5, 0.9]]), torch.tensor([[1.0, -1.0]]), torch.tensor([-0.8]), "linf")
    tensor([[-0.3000,  0.1000]])
    """
    excess = (normal * points).sum(1) - offset
    side = torch.where(excess >= 0, 1.0, -1.0).unsqueeze(1)
    weight = normal.abs()
    room = torch.where(normal * side > 0, points, 1 - points)
    rate, reach = (weight, room) if norm == "linf" else (weight.square(), room / weight)
    gain = weight * room
    missing = excess.abs()
    lam = torch.zeros_like(excess)
    for _ in range(_PASSES):
        free = reach > lam.unsqueeze(1)
        slope = torch.where(free, rate, 0.0).sum(1)
        # Without a free coordinate the hyperplane is out of reach; a step back is rounding.
        further = torch.where(slope > 0, ((missing - torch.where(free, 0.0, gain).sum(1)) / slope).maximum(lam), lam)
        done, lam = further <= lam * (1 + 1e-6), further
        if bool(done.all()):
            break
    step = (lam.unsqueeze(1) if norm == "linf" else lam.unsqueeze(1) * weight).minimum(room)
    return -step * side * normal.sign()


@dataclass(frozen=True)
class FAB(Attack):
    """FAB-T (Croce & Hein 2020) by pyautoattack: the nearest image over the boundary to each of the likeliest classes.

    Attributes:
        targets: how many classes; AutoAttack's own has 9. At most all wrong ones.
        steps: for each of them.
    """

    targets: int = 9
    steps: int = 100

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """Steps and targets."""
        return {"attack": "FAB", "library": "pyautoattack", "steps": self.steps, "targets": self.targets}

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch."""
        with frozen(model, images.device) as judged, own_random_state(), torch.no_grad():
            return AttackResult(self._of(judged, images, threat, generator).perturb(images.contiguous(), labels))

    def nearest(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> Tensor:
        """The nearest misclassified image that is found towards any of the targets, at any distance in the norm.

        An attack on a ball, as `run` is, leaves an image once one target has broken it; this goes on with the others.

        Returns:
            Tensor: like `images`; an image that is misclassified, or for which nothing is found, as it is.
        """
        nearest, size = images.clone(), torch.full(labels.shape, torch.inf, device=images.device)
        with frozen(model, images.device) as judged, own_random_state(), torch.no_grad():
            attack = without_sorting(self._of(judged, images, threat.unbounded(images), generator))
            torch.manual_seed(generator.initial_seed())
            right = judged(images).argmax(1) == labels
            for target in range(2, attack.n_target_classes + 2):
                attack.target_class = target
                found = attack.attack_single_run(images.contiguous(), labels, is_targeted=True)
                distance = threat.norm_of(found - images)
                nearer = right & (judged(found).argmax(1) != labels) & (distance < size)
                size[nearer], nearest[nearer] = distance[nearer], found[nearer]
        return nearest

    def _of(self, judged: nn.Module, images: Tensor, threat: ThreatModel, generator: torch.Generator) -> FABAttack_PT:
        """The library's object."""
        return FABAttack_PT(
            FiniteGradients(judged),
            n_restarts=1,
            n_iter=self.steps,
            norm=threat.library_norm,
            eps=threat.radius,
            seed=generator.initial_seed(),
            device=images.device,
            targeted=True,
            n_target_classes=min(self.targets, judged(images[:1]).shape[1] - 1),
        )


def without_sorting(attack: FABAttack_PT) -> FABAttack_PT:
    """The library's object, whose projections in l-inf and l2 become `to_hyperplane`.

    Raises:
        ToughenError: the installed library's loop no longer calls its projections as this knows them.
    """
    attack.attack_single_run = MethodType(_second_copy().FABAttack.attack_single_run, attack)
    return attack


@cache
def _second_copy() -> Any:
    """A copy of the library's module of its own, with other projections; the library itself stays as it is."""
    spec = find_spec("pyautoattack.fab_base")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    for norm in ("linf", "l2"):
        name = f"projection_{norm}"
        theirs = getattr(module, name, None)
        called = name in module.FABAttack.attack_single_run.__code__.co_names
        if theirs is None or not called or len(signature(theirs).parameters) != 3:
            raise ToughenError(
                f"FAB: expected pyautoattack's loop to call {name}(points, normal, offset), and version "
                f"{version('pyautoattack')} does not; install the version that toughen names: pip install -U toughen"
            )
        setattr(module, name, partial(to_hyperplane, norm=norm))
    return module
