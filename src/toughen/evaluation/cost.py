"""What the attacks of an evaluation may cost, before they begin."""

import copy
import warnings
from dataclasses import dataclass
from math import ceil
from time import perf_counter

import torch
from torch import Tensor, nn

from toughen.attacks.fast_search import FastSearch
from toughen.attacks.pgd import PGD
from toughen.evaluation.passes import Passes, likely_passes_of, passes_of
from toughen.evaluation.plan import EvaluationPlan
from toughen.models.inference import classes_of, frozen
from toughen.models.replica import for_queries
from toughen.random_state import seeded

_TIMED = 32
"""Images that are timed together; fewer where a batch has fewer."""
_ATTACKED = 128
"""Images that are shortly attacked at most: a tenth of all, but not fewer than are timed."""


@dataclass(frozen=True)
class Cost:
    """What the attacks cost at most: where every image holds against all of them, which none may do.

    Attributes:
        forward: passes of one image.
        backward: the same.
        seconds: on this device; what the projections of attacks take is not in it. None where the model has no copy,
            which alone may be asked.
        likely: seconds that they will take about, from what a short attack leaves of a few images: one that is
            misclassified, or breaks at once, costs AutoAttack little. None as above.
        unknown: attacks that do not say how many passes they take; nothing else is missing.
    """

    forward: int
    backward: int
    seconds: float | None
    likely: float | None
    unknown: tuple[str, ...] = ()


def cost_of(plan: EvaluationPlan, images: int | None = None) -> Cost:
    """The cost of a plan's attacks, its audit included. A copy of the model is asked for a few passes, which are timed.

    Args:
        plan: what is evaluated.
        images: of how many images; default all.
    """
    n = plan.spec.n if images is None else images
    asked = {name: (settings, 1.0) for name, settings in plan.spec.protocol["attacks"].items()}
    if "audit" in plan.spec.protocol:
        audit = plan.spec.protocol["audit"]
        asked["audit"] = (audit["attack"], audit["share"])
    most = {name: passes_of(settings) for name, (settings, _) in asked.items()}
    known = {name: passes for name, passes in most.items() if passes is not None}
    at_most = Passes.sum(passes.times(ceil(asked[name][1] * n)) for name, passes in known.items())
    seconds = likely = None
    # A model that is asked may remember it; the copy is copied, so that it stays as it is.
    if plan.fresh is not None:
        with frozen(copy.deepcopy(plan.fresh), plan.device) as model, seeded(0), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the search says them again
            held = _held(plan, model)
            pace = _seconds(plan, model)
        about = Passes.sum(likely_passes_of(asked[name][0], *held).times(asked[name][1] * n) for name in known)
        seconds = _lasting(at_most, pace)
        likely = min(seconds, _lasting(about, pace))
    return Cost(int(at_most.forward), int(at_most.backward), seconds, likely, tuple(asked.keys() - known.keys()))


def _lasting(passes: Passes, pace: tuple[float, float]) -> float:
    without, with_gradient = pace
    return (passes.forward - passes.backward) * without + passes.backward * with_gradient


def _held(plan: EvaluationPlan, model: nn.Module) -> tuple[float, float]:
    """Shares of a few images that are classified correctly, and that hold against PGD-10 on the margin."""
    images, labels = _some(plan, min(max(_TIMED, plan.spec.n // 10), _ATTACKED))
    size = min(_TIMED, plan.spec.size)
    attack, generator = PGD(10, keep_best=True, loss="margin"), torch.Generator(images.device).manual_seed(0)
    right, held = [], []
    for x, y in zip(images.split(size), labels.split(size), strict=True):
        right.append(classes_of(model, x) == y)
        with torch.enable_grad():
            climbs = model(x[:1].clone().requires_grad_(True)).requires_grad
        if climbs:  # else there is nothing to climb: the evaluation says so
            x = attack.run(model, x, y, plan.threat, generator).adversarial
        held.append(right[-1] & (classes_of(model, x) == y))
    return float(torch.cat(right).float().mean()), float(torch.cat(held).float().mean())


def _seconds(plan: EvaluationPlan, model: nn.Module) -> tuple[float, float]:
    """Of an image's forward pass, and of one with its backward pass, as attacks make them; the faster of two times."""
    images, _ = _some(plan, min(_TIMED, plan.spec.size))
    fast = [attack.attack for attack in plan.attacks if isinstance(attack.attack, FastSearch)]
    search = fast[0].replicas.of(model, images) if fast else model
    queried = for_queries(search)

    def forward() -> None:
        with torch.no_grad():
            queried(images).argmax(1).tolist()

    def backward() -> None:
        x = images.clone().requires_grad_(True)
        with torch.enable_grad():
            logits = search(x)
            if logits.requires_grad:
                torch.autograd.grad(logits.sum(), x)[0].sum().item()

    found = []
    for action in (forward, backward):
        times = []
        for _ in range(2):
            began = perf_counter()
            action()
            times.append(perf_counter() - began)
        found.append(min(times) / len(images))
    return found[0], found[1]


def _some(plan: EvaluationPlan, count: int) -> tuple[Tensor, Tensor]:
    """So many of the images, from all parts of them: those of a folder lie class by class; and their labels."""
    images, labels = plan.images.subset(plan.indices[:: max(1, plan.spec.n // count)][:count])
    return images.to(plan.device), labels.to(plan.device)
