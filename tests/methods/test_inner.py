"""The inner maximum that several methods share."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import TRADES, ARoW
from toughen.methods.inner import inner_maximum
from toughen.models import SmallCNN
from toughen.threat import ThreatModel

LINF = ThreatModel("linf", 0.1)


def network_and_batch() -> tuple[nn.Module, Batch]:
    torch.manual_seed(0)
    return SmallCNN(5, 1, width=4), Batch(torch.rand(6, 1, 6, 6), torch.randint(5, (6,)))


def looped(model: nn.Module, batch: Batch, inner: str, start: Tensor, steps: int, step_size: float) -> Tensor:
    """The published inner loop (ARoW's code): the clean output anew in every step, in eval mode."""
    x = start
    for _ in range(steps):
        x = x.clone().requires_grad_(True)
        logits = model(x)
        if inner == "ce":
            loss = F.cross_entropy(logits, batch.labels)
        else:
            loss = F.kl_div(F.log_softmax(logits, 1), F.softmax(model(batch.images), 1), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        moved = x.detach() + step_size * gradient.sign()
        x = torch.min(torch.max(moved, batch.images - 0.1), batch.images + 0.1).clamp(0, 1)
    return x


@pytest.mark.parametrize("inner", ["kl", "ce"])
def test_it_is_the_published_loop(inner: str) -> None:
    model, batch = network_and_batch()
    model.train()
    start = LINF.random_start(batch.images, torch.Generator().manual_seed(3))
    attack = GradientAttack(steps=10)
    found = inner_maximum(model, batch, inner, attack, LINF, torch.Generator().manual_seed(3))
    assert all(module.training for module in model.modules())
    # 10 steps of eps / 4, as published.
    expected = looped(model.eval(), batch, inner, start, steps=10, step_size=0.025)
    # Rounding turns the sign of a gradient of almost zero.
    assert (found - expected).abs().gt(1e-5).float().mean() < 0.02


def test_arow_climbs_as_trades_does_from_the_same_start() -> None:
    model, batch = network_and_batch()
    attack = GradientAttack(steps=3, start="normal")
    images = [
        method.under(LINF, torch.Generator().manual_seed(1)).perturb(model, batch).images
        for method in (TRADES(attack=attack), ARoW(attack=attack))
    ]
    assert torch.equal(*images)


@pytest.mark.parametrize("inner", ["kl", "ce"])
def test_only_ce_looks_at_the_label(inner: str) -> None:
    model, batch = network_and_batch()
    images = [
        inner_maximum(
            model, Batch(batch.images, labels), inner, GradientAttack(steps=3), LINF, torch.Generator().manual_seed(1)
        )
        for labels in (batch.labels, (batch.labels + 1) % 5)
    ]
    assert torch.equal(*images) == (inner == "kl")


def test_an_unknown_one_is_an_error() -> None:
    with pytest.raises(InputError, match=r"method\.inner: expected one of kl, ce, got 'js'"):
        ARoW(inner="js")
