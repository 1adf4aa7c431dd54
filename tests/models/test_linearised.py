"""First-order changes of logits, against forward differentiation of the plain network and against fp32."""

import torch
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.methods.inner import inner_maximum
from toughen.models import SmallCNN
from toughen.models.fold import fold
from toughen.models.linearised import linearised, may_linearise, rounds
from toughen.threat import ThreatModel


def convolutions() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=True),
            nn.GELU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=2, dilation=2, groups=4),
            nn.Conv2d(8, 8, 3, padding="same", padding_mode="circular"),
            nn.BatchNorm2d(8),
            nn.SiLU(),
            nn.Conv2d(8, 4, 1, bias=False),
            nn.Flatten(),
            nn.Linear(4 * 16, 5),
        )


def test_change_and_gradient_are_those_of_the_network() -> None:
    model = convolutions().double().eval().requires_grad_(False)
    images, direction = torch.rand(2, 3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits, change, pulled_back = linearised(model, images, images + direction)
    expected, forward = torch.autograd.functional.jvp(model, images, direction)  # backward, twice
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(change, forward)
    v = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pulled_back(v), torch.autograd.functional.vjp(model, images, v)[1])
    assert all("forward" not in vars(layer) for layer in model.modules())


def test_logits_that_do_not_depend_on_the_images_do_not_change() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.new_ones(len(x), 2)

    images = torch.rand(2, 1, 2, 2)
    assert torch.equal(linearised(Constant(), images, 1 - images)[1], torch.zeros(2, 2))


class Attention(nn.Module):
    """Through a kernel that torch cannot differentiate forward."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)[:, None]
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).flatten(1)


def test_networks_that_torch_cannot_differentiate_forward_are_known() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert not may_linearise(Attention(), images)
    assert may_linearise(convolutions().eval().requires_grad_(False), images)


def first_step(model: nn.Module, images: Tensor) -> Tensor:
    """Directions of the first step of an ascent on the KL from next to the images."""
    attack, threat = GradientAttack(steps=1, start="normal"), ThreatModel("linf", 8 / 255)
    batch = Batch(images, torch.zeros(len(images), dtype=torch.long))
    return (inner_maximum(model, batch, "kl", attack, threat, torch.Generator().manual_seed(3)) - images).sign()


def test_in_bf16_an_ascent_from_next_to_the_images_begins_as_in_fp32() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallCNN(10, 3, width=8)
        images = 0.25 + 0.5 * torch.rand(64, 3, 16, 16)
        for _ in range(3):
            model.train()(images)
        model.eval().requires_grad_(False)
    exact, replica = fold(model, images[:2], torch.float32), fold(model, images[:2], torch.bfloat16)
    expected, rounded = first_step(exact, images), first_step(replica, images)
    assert not rounds(replica)
    replica.exact, replica.linearises = exact, may_linearise(replica, images[:2])
    assert rounds(replica)
    found = first_step(replica, images)
    assert (rounded == expected).float().mean() < 0.75  # what would be rounded away
    assert (found == expected).float().mean() > 0.9
