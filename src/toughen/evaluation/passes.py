"""How many passes an attack takes, by its settings."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from toughen.attacks.base import SURVIVORS


class Passes(NamedTuple):
    """Passes of one image through a network."""

    forward: float
    backward: float

    def times(self, factor: float) -> "Passes":
        """So many times as many."""
        return Passes(factor * self.forward, factor * self.backward)

    @classmethod
    def sum(cls, each: Iterable["Passes"]) -> "Passes":
        """All of them together."""
        listed = [cls(0, 0), *each]
        return cls(sum(one.forward for one in listed), sum(one.backward for one in listed))


def passes_of(settings: Mapping[str, Any]) -> Passes | None:
    """Passes that an attack of these settings takes at most for an image that holds; None where they do not say.

    >>> passes_of({"attack": "PGD", "steps": 20, "keep_best": True}), passes_of({"attack": "SPSA"})
    (Passes(forward=21, backward=20), None)
    """
    kind = settings["attack"]
    if kind == "AutoAttack":
        found = Passes.sum(_component(name, settings) for name in settings["components"])
    elif kind in ("PGD", "FGSM"):
        restarts = settings.get("restarts", 1)
        last = settings.get("keep_best", False) or restarts > 1  # then it looks at its last image too
        found = Passes(restarts * (settings["steps"] + last), restarts * settings["steps"])
    elif kind == "APGD":
        steps = len(settings["losses"]) * settings["restarts"] * (settings["steps"] + 1)
        found = Passes(steps, steps)
    elif kind == "MALT":
        forward = settings["targets"] * (settings["steps"] + 1) + 1
        found = Passes(forward, forward + settings["candidates"] - 1)
    elif kind == "Square":
        found = Passes(settings.get("restarts", 1) * settings["queries"] + 1, 0)
    else:
        return None
    return found.times(settings.get("eot", 1))


def likely_passes_of(settings: Mapping[str, Any], right: float, held: float) -> Passes:
    """Passes that an attack which `passes_of` knows likely takes, in the mean over all images.

    Args:
        settings: its own.
        right: share of the images that are classified correctly.
        held: share of the images that hold against a short attack.
    """
    at_most, on_survivors = passes_of(settings), settings.get("attacked") == SURVIVORS
    assert at_most is not None
    if settings["attack"] != "AutoAttack":
        return at_most.times(held) if on_survivors else at_most
    lean = settings.get("lean")
    # Most images are left after the first look.
    shares = {"fab-t": lean["fab_probe"], "square": 1 / lean["square_parts"]} if lean else {}
    components = {name: _component(name, settings) for name in settings["components"]}
    holds = Passes.sum(passes.times(shares.get(name, 1)) for name, passes in components.items())
    breaks = components[settings["components"][0]].times(0 if on_survivors else right - held)
    return Passes.sum([holds.times(held), breaks]).times(settings.get("eot", 1))


def _component(name: str, settings: Mapping[str, Any]) -> Passes:
    """Of AutoAttack's own; FAB looks at every image once more in each step."""
    targets = {"apgd-t": settings["apgd_targets"], "fab-t": settings["fab_targets"]}.get(name, 1)
    if name == "square":
        return Passes(5001, 0)
    return Passes(targets * 202, targets * 100) if name == "fab-t" else Passes(targets * 103, targets * 101)
