"""SCORE: the formula in plain loops, what clipping leaves, and BatchNorm during its attack."""

import math

import pytest
import torch
from torch import nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import SCORE, total
from toughen.methods.score import score_terms
from toughen.models import SmallCNN
from toughen.threat import ThreatModel


@pytest.mark.parametrize(("clip", "clip_of"), [(0.0, "total"), (0.6, "total"), (0.2, "regularizer")])
def test_the_formula_in_plain_loops(clip: float, clip_of: str) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, adversarial = (2 * torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    labels, losses = [3, 0, 1, 2, 2, 1], []
    for z, a, y in zip(clean.tolist(), adversarial.tolist(), labels, strict=True):
        p, q = ([math.exp(v) / sum(math.exp(u) for u in row) for v in row] for row in (z, a))
        natural = sum((p[k] - (k == y)) ** 2 for k in range(4))
        robust = sum((s - t) ** 2 for s, t in zip(p, q, strict=True))
        if clip_of == "total":
            losses.append(max(0.0, natural + 3 * robust - clip))
        else:
            losses.append(natural + 3 * max(0.0, robust - clip))
    terms = score_terms(clean, adversarial, torch.tensor(labels), 3.0, clip, clip_of)
    assert (terms["natural"].values + 3 * terms["robust"].values).tolist() == pytest.approx(losses)


def test_an_image_below_the_clip_has_no_gradient() -> None:
    good, bad = [8.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    clean = torch.tensor([good, bad], requires_grad=True)
    adversarial = torch.tensor([good, bad]).roll(1, 1).requires_grad_(True)
    total(score_terms(clean, clean * 1.0, torch.tensor([0, 0]), 6.0, 0.1, "total")).backward()
    assert clean.grad is not None
    assert not clean.grad[0].any()
    assert clean.grad[1].any()
    total(score_terms(clean.detach(), adversarial, torch.tensor([0, 0]), 6.0, 2.0, "regularizer")).backward()
    assert not adversarial.grad.any()  # two distributions are never further apart than 2


def test_in_train_mode_the_attack_uses_the_statistics_of_the_batch_and_keeps_the_running_ones() -> None:
    model = SmallCNN(5, 1, width=4).train()
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    images = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    seen = []
    first = next(layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))
    first.register_forward_hook(lambda layer, inputs, output: seen.append(layer.training))
    method = SCORE(attack=GradientAttack(steps=2, mode="train")).under(ThreatModel("linf", 0.1))
    method.perturb(model, Batch(images, torch.arange(6) % 5))
    assert seen == [True] * 3
    assert all(torch.equal(value, statistics[name]) for name, value in model.named_buffers())


def test_what_cannot_be() -> None:
    with pytest.raises(InputError, match=r"method\.clip"):
        SCORE(clip=3)
    with pytest.raises(InputError, match=r"method\.clip_of"):
        SCORE(clip_of="all")
