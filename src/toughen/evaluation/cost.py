"""What the attacks of an evaluation may cost, before they begin."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from time import perf_counter
from typing import Any

import torch
from torch import nn

from toughen.evaluation.plan import EvaluationPlan
from toughen.models.inference import frozen
from toughen.random_state import seeded

_TIMED = 32
"""Images of the passes that are timed; fewer where a batch has fewer."""
Passes = tuple[int, int]
"""Of an image that holds to the end: forward passes, and backward ones."""


@dataclass(frozen=True)
class Cost:
    """What the attacks cost at most: where every image holds against all of them, which none may do.

    Attributes:
        forward: passes of one image.
        backward: the same.
        seconds: on this device; what the projections of attacks take is not in it. None where the model has no copy,
            which alone may be asked.
        unknown: attacks that do not say how many passes they take; nothing else is missing.
    """

    forward: int
    backward: int
    seconds: float | None
    unknown: tuple[str, ...] = ()


def passes_of(settings: Mapping[str, Any]) -> Passes | None:
    """Passes that an attack of these settings takes for an image that holds; None where the settings do not say.

    >>> passes_of({"attack": "PGD", "steps": 20, "keep_best": True}), passes_of({"attack": "SPSA"})
    ((21, 20), None)
    """
    kind = settings["attack"]
    times = settings.get("eot", 1)
    if kind == "AutoAttack":
        found = [_component(name, settings) for name in settings["components"]]
        forward, backward = (sum(each) for each in zip(*found, strict=True))
    elif kind in ("PGD", "FGSM"):
        restarts = settings.get("restarts", 1)
        last = settings.get("keep_best", False) or restarts > 1  # then it looks at its last image too
        forward, backward = restarts * (settings["steps"] + last), restarts * settings["steps"]
    elif kind == "APGD":
        forward = backward = len(settings["losses"]) * settings["restarts"] * (settings["steps"] + 1)
    elif kind == "MALT":
        forward = settings["targets"] * (settings["steps"] + 1) + 1
        backward = forward + settings["candidates"] - 1
    elif kind == "Square":
        forward, backward = settings.get("restarts", 1) * settings["queries"] + 1, 0
    else:
        return None
    return forward * times, backward * times


def cost_at_most(plan: EvaluationPlan, images: int | None = None) -> Cost:
    """The cost of a plan's attacks, its audit included. A copy of the model is asked for a few passes, which are timed.

    Args:
        plan: what is evaluated.
        images: of how many images; default all.
    """
    n = plan.spec.n if images is None else images
    shares = [(attack.name, plan.spec.protocol["attacks"][attack.name], 1.0) for attack in plan.attacks]
    if "audit" in plan.spec.protocol:
        audit = plan.spec.protocol["audit"]
        shares.append(("audit", audit["attack"], audit["share"]))
    forward = backward = 0
    unknown = []
    for name, settings, share in shares:
        passes, images = passes_of(settings), ceil(share * n)
        if passes is None:
            unknown.append(name)
        else:
            forward, backward = forward + images * passes[0], backward + images * passes[1]
    seconds = None
    # A model that is asked may remember it; the copy is copied, so that it stays as it is.
    if plan.fresh is not None:
        with frozen(copy.deepcopy(plan.fresh), plan.device) as model, seeded(0):
            without, with_gradient = _seconds(plan, model)
        seconds = (forward - backward) * without + backward * with_gradient
    return Cost(forward, backward, seconds, tuple(unknown))


def _component(name: str, settings: Mapping[str, Any]) -> Passes:
    """Of AutoAttack's own; FAB looks at every image once more in each step."""
    targets = {"apgd-t": settings["apgd_targets"], "fab-t": settings["fab_targets"]}.get(name, 1)
    if name == "square":
        return 5001, 0
    return (targets * 202, targets * 100) if name == "fab-t" else (targets * 103, targets * 101)


def _seconds(plan: EvaluationPlan, model: nn.Module) -> tuple[float, float]:
    """Of an image's forward pass, and of one with its backward pass; the faster of two times."""
    size = min(_TIMED, plan.spec.size, plan.spec.n)
    images = plan.images.subset(plan.indices[:size])[0].to(plan.device)

    def forward() -> None:
        with torch.no_grad():
            model(images).argmax(1).tolist()

    def backward() -> None:
        x = images.requires_grad_(True)
        with torch.enable_grad():
            logits = model(x)
            if logits.requires_grad:
                torch.autograd.grad(logits.sum(), x)[0].sum().item()

    found = []
    for action in (forward, backward):
        times = []
        for _ in range(2):
            began = perf_counter()
            action()
            times.append(perf_counter() - began)
        found.append(min(times) / size)
    return found[0], found[1]
