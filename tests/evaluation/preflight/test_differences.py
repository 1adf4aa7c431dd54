"""The gradient against central differences, where both are known in closed form."""

import pytest
import torch
from torch import Tensor, nn

from toughen.evaluation.preflight import ModelState, PreflightContext
from toughen.evaluation.preflight.differences import differences
from toughen.models.inference import frozen
from toughen.threat import Norm, ThreatModel


class Slope(nn.Module):
    """A linear network of two classes, whose margin is linear too, that gives so many times its gradient."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self.times = times
        self.register_buffer("weight", torch.randn(2, 2 * 6 * 6, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        given = images.detach() + self.times * (images - images.detach())
        return given.flatten(1) @ self.weight.T


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize(("times", "error"), [(1.0, 0.0), (2.0, 1 / 4), (0.5, 1 / 4), (-1.0, 4.0), (-2.0, 9 / 4)])
def test_a_multiple_of_the_gradient(times: float, error: float, norm: Norm):
    """d = 2 w u and the promise t d: `(1 - t)^2 / max(1, |t|)^2`, whatever the directions."""
    images = torch.rand(6, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    images[:, :, :2] = images[:, :, :2].round()  # at the border of the box
    labels = torch.arange(6) % 2
    threat = ThreatModel(norm, {"linf": 0.1, "l2": 0.5, "l1": 4.0}[norm])
    model = Slope(times)
    with frozen(model, "cpu") as judged:
        context = PreflightContext(
            judged, ModelState.of(model), images, labels, labels, labels, ("a", "b"), threat, batch_size=4
        )
        found = differences(context)
    for errors in (found.long, found.short):
        torch.testing.assert_close(errors, torch.full((6,), error), rtol=0.03, atol=0.02)
