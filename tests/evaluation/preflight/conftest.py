"""What the checks before the attacks find of a model on a few images."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from toughen.data import ImageSet
from toughen.evaluation.preflight import Finding, ModelState, PreflightContext, preflight
from toughen.models.inference import frozen
from toughen.threat import ThreatModel

Look = Callable[..., dict[str, Finding]]


@pytest.fixture(scope="session")
def digits(images: ImageSet) -> tuple[Tensor, Tensor]:
    """128 test digits with their labels."""
    return images.subset(torch.arange(128))


@pytest.fixture(scope="session")
def look(digits: tuple[Tensor, Tensor]) -> Look:
    """The findings by name; settings are those of `PreflightContext`."""

    def find(model: nn.Module, given: tuple[Tensor, Tensor] | None = None, **settings: Any) -> dict[str, Finding]:
        pictures, labels = digits if given is None else given
        about = {
            "images": pictures,
            "labels": labels,
            "evaluated": labels,
            "split": settings.get("evaluated", labels),
            "classes": tuple(str(number) for number in range(10)),
            "threat": ThreatModel("linf", 0.08),
            "batch_size": 250,
            **settings,
        }
        state = ModelState.of(model)
        with frozen(model, "cpu") as judged:
            found = preflight(PreflightContext(judged, state, **about))
        assert len({finding.name for finding in found}) == len(found)
        return {finding.name: finding for finding in found}

    return find
