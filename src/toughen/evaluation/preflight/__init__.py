"""What can be seen before any attack: reasons not to believe the figure that it will give, and what to do.

One check a file, found by its file and ordered by its place: to add one, add `preflight/NAME.py` with a `CHECK`. All of
them together cost about sixteen passes over at most 128 images.
"""

from importlib import import_module
from pkgutil import iter_modules

import torch

from toughen.errors import InputError
from toughen.evaluation.preflight.context import SAMPLE, ModelState, PreflightContext
from toughen.evaluation.preflight.finding import Finding, PreflightCheck, Severity
from toughen.models.build import check_outputs
from toughen.models.mode import buffers_kept
from toughen.random_state import seeded

__all__ = [
    "SAMPLE",
    "Finding",
    "ModelState",
    "PreflightCheck",
    "PreflightContext",
    "Severity",
    "preflight",
    "preflight_checks",
]


def preflight_checks() -> list[PreflightCheck]:
    """Every check, in the order of its findings."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return sorted((module.CHECK for module in modules if hasattr(module, "CHECK")), key=lambda check: check.place)


def preflight(context: PreflightContext) -> tuple[Finding, ...]:
    """Everything that the checks find; the model and the global random numbers are left as they were.

    Raises:
        InputError: the model cannot take the images or changes them, its outputs or the labels do not match the
            classes.
    """
    # A model that refuses eval mode would move its BatchNorm statistics.
    with buffers_kept(context.model):
        _check_pass(context)
        return tuple(finding for check in preflight_checks() for finding in check.find(context))


def _check_pass(context: PreflightContext) -> None:
    images = context.images[: context.batch_size]
    shown = images.clone()
    with seeded(0):
        check_outputs(context.model, shown, len(context.classes))
    if not torch.equal(shown, images):
        raise InputError(
            "the model changes the images that it is given, and nothing can be said of images that do not stay as they "
            "are; write images = images - mean instead of images.sub_(mean), and the like"
        )
