"""The recipes that the benchmarks measure against train on the same images and losses as the methods."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from plain import ar_at, arow, d2r, pgd_at, regmix, trades
from toughen.attacks import FGSM, PGD
from toughen.batch import Batch
from toughen.methods import ARAT, D2R, PGDAT, TRADES, ARoW, Method, RegMix
from toughen.methods.guide import Guide
from toughen.models import ResNet18, build_model
from toughen.models.features import last_stage
from toughen.threat import ThreatModel

# In fp64 and away from 0 and 1: TRADES' code begins its attack outside of [0, 1] there.
IMAGES = 0.1 + 0.8 * torch.rand(6, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def network(seed: int = 0) -> nn.Module:
    """With BatchNorm statistics that are not those of a new network."""
    torch.manual_seed(seed)
    model = build_model(partial(ResNet18, width=4), num_classes=4, in_channels=3, mean=[0.5] * 3, std=[0.25] * 3)
    model.double().train()(IMAGES)
    return model


def d2r_side(method: D2R) -> Any:
    guide = network(1)
    method.guide_network = copy.deepcopy(guide)
    return d2r.Plain(network(), guide)


# What of a method's defaults the published recipe has otherwise, and the recipe.
CASES: dict[str, tuple[Method, Callable[[Method], Any]]] = {
    "PGDAT": (PGDAT(PGD(steps=10, mode="train")), lambda method: pgd_at.Plain(network())),
    "TRADES": (TRADES(), lambda method: trades.Plain(network())),
    "ARoW": (ARoW(), lambda method: arow.Plain(network())),
    "ARAT": (ARAT(balance=0.5), lambda method: ar_at.Plain(network(), last_stage(network()), IMAGES)),
    "D2R": (D2R(Guide(), log_offset=1e-5), d2r_side),
    "RegMix": (RegMix(attack=FGSM(mode="train")), lambda method: regmix.Plain(network(), IMAGES)),
}


@pytest.mark.parametrize("name", CASES)
def test_same_loss_from_the_same_seed(name: str) -> None:
    method, plain = CASES[name]
    with torch.random.fork_rng():
        method.under(ThreatModel("linf", "8/255"))
        method.allocate_memory(len(IMAGES), (3, 16, 16))
        model = network() if name == "D2R" else method.prepare(network())
        recipe = plain(method)
        torch.manual_seed(3)
        if name == "RegMix":
            recipe.forget(IMAGES)
        expected = recipe.step(IMAGES, LABELS)
        torch.manual_seed(3)
        found = method(model.train(), Batch(IMAGES, LABELS, torch.arange(len(IMAGES)))).item()
    assert found == pytest.approx(expected, rel=1e-5)
