"""On a linear model the worst image has a closed form, in every norm and with the box."""

import pytest
import torch
from torch import Tensor, nn

from toughen.attacks import FGSM, PGD, GradientAttack
from toughen.losses import margin
from toughen.threat import ThreatModel


def linear_model(seed: int, shape: tuple[int, int, int]) -> tuple[nn.Module, Tensor]:
    """Two classes; the second return is the gradient of class 1's lead over class 0."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, shape[0] * shape[1] * shape[2], generator=generator, dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(weight.shape[1], 2, dtype=torch.float64))
    with torch.no_grad():
        model[1].weight.copy_(weight)
        model[1].bias.zero_()
    return model, (weight[1] - weight[0]).view(shape)


def optimum(gradient: Tensor, x: Tensor, threat: ThreatModel) -> Tensor:
    """The best perturbation of one image for a linear function, allowed by ball and box."""
    eps = threat.radius
    room = torch.where(gradient > 0, 1 - x, x)
    if threat.norm == "linf":
        return gradient.sign() * room.clamp_max(eps)
    if threat.norm == "l1":  # spend the budget where it buys most, each pixel up to its room
        delta, left = torch.zeros_like(x).flatten(), eps
        for i in gradient.abs().flatten().argsort(descending=True):
            spent = min(left, room.flatten()[i].item())
            delta[i], left = spent, left - spent
        return gradient.sign() * delta.view_as(x)
    low, high = 0.0, 1e6  # l2: t * gradient, cut to the room, with t such that the norm is eps
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (middle * gradient.abs()).minimum(room).norm() < eps else (low, middle)
    return gradient.sign() * (high * gradient.abs()).minimum(room)


@pytest.mark.parametrize(
    ("threat", "steps", "step_size"),
    [
        (ThreatModel("linf", 0.1), 10, None),
        (ThreatModel("l2", 0.5), 50, 0.2),
        (ThreatModel("l1", 3.0), 300, 2.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("spread", [0.1, 0.5], ids=["inside", "at-the-box"])
def test_pgd_reaches_the_closed_form(threat: ThreatModel, steps: int, step_size: float | None, spread: float) -> None:
    shape = (2, 4, 4)
    model, gradient = linear_model(0, shape)
    x = 0.5 + spread * (2 * torch.rand(3, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1)
    labels = torch.zeros(3, dtype=torch.int64)
    attack = PGD(steps=steps, step_size=step_size, keep_best=True, loss="margin", restarts=2)
    adversarial = attack(model, x, labels, threat, torch.Generator().manual_seed(2))
    threat.check(adversarial, x)
    for image, found in zip(x, adversarial, strict=True):
        best = (optimum(gradient, image, threat) * gradient).sum().item()
        reached = ((found - image) * gradient).sum().item()
        assert reached <= best + 1e-6
        # l2 clips to the box after scaling to the ball, as the field does, so it may stop a little short there.
        assert reached >= best * (0.97 if threat.norm == "l2" and spread == 0.5 else 0.999)


def test_fgsm_is_one_full_step_of_the_sign() -> None:
    model, gradient = linear_model(3, (1, 3, 3))
    x = torch.full((1, 1, 3, 3), 0.5, dtype=torch.float64)
    adversarial = FGSM()(model, x, torch.tensor([0]), ThreatModel("linf", 0.2))
    torch.testing.assert_close(adversarial - x, 0.2 * gradient.sign()[None])


def test_gradient_is_taken_at_the_clipped_point() -> None:
    """At exactly 0 and 1 an attack that differentiates through the clipping would stand still."""
    model, gradient = linear_model(4, (1, 3, 3))
    x = (gradient < 0).double()[None]  # every pixel sits at the end of the range that it has to leave
    adversarial = PGD(steps=5, start="clean")(model, x, torch.tensor([0]), ThreatModel("linf", 0.2))
    torch.testing.assert_close(adversarial - x, 0.2 * gradient.sign()[None])


def test_maximise_raises_any_objective() -> None:
    model, gradient = linear_model(5, (1, 3, 3))
    x = torch.full((2, 1, 3, 3), 0.5, dtype=torch.float64)
    lowered = GradientAttack(steps=3, start="clean").maximise(
        model, lambda logits: -margin(logits, torch.zeros(2, dtype=torch.int64)), x, ThreatModel("linf", 0.1)
    )
    torch.testing.assert_close(lowered - x, -0.1 * gradient.sign().expand_as(x))
