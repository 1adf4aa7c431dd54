"""A step of a plain recipe by the method's name, for the benchmarks."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn

from plain import ar_at, arow, d2r, pgd_at, regmix, trades
from toughen.models import build_model
from toughen.models.features import last_stage

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def plain_step(stack: ExitStack, method: str, network: Callable[..., nn.Module], batch: int) -> Callable[[], float]:
    """The published recipe on one batch."""
    torch.manual_seed(0)
    images, labels = torch.rand(batch, 3, 32, 32, device=DEVICE), torch.arange(batch, device=DEVICE) % 10
    facts = {"num_classes": 10, "in_channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3}
    model = build_model(network, **facts).to(DEVICE)
    match method:
        case "PGDAT":
            recipe: Any = pgd_at.Plain(model)
        case "TRADES":
            recipe = trades.Plain(model)
        case "ARoW":
            recipe = arow.Plain(model)
        case "ARAT":
            recipe = ar_at.Plain(model, last_stage(model), images)
        case "D2R":
            recipe = d2r.Plain(model, build_model(network, **facts).to(DEVICE))
        case _:
            recipe = regmix.Plain(model, images)
    return partial(recipe.step, images, labels)
