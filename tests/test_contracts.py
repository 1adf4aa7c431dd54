"""Misuse from Python says what was wrong, what came, what was expected and what to write."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toughen import compare, evaluate, load, train
from toughen.attacks import FGSM, PGD, GradientAttack
from toughen.batch import Batch
from toughen.contracts import check_arguments, check_generator
from toughen.data import Digits
from toughen.errors import InputError
from toughen.losses import cross_entropy, dlr, kl, lq_distance, margin, squared_error
from toughen.methods import ARAT, ARR, D2R, LBGAT, MART, PGDAT, TRADES, ARoW, RegMix
from toughen.models import SmallCNN
from toughen.threat import ThreatModel

IMAGES, LABELS = torch.full((2, 1, 4, 4), 0.5), torch.tensor([0, 1])
MODEL = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "resnet18"}, r"model: expected a network .*, got str 'resnet18'"),
        ({"model": SmallCNN}, r"model: expected a network .*, got the class SmallCNN; write SmallCNN\(\)"),
        ({"model": MODEL.state_dict()}, r"model: .* got a dict, as of weights; .*load_state_dict"),
        ({"images": IMAGES.numpy()}, r"images: expected a tensor.*, got ndarray; use torch.as_tensor\(images\)"),
        ({"images": (IMAGES * 255).to(torch.uint8)}, r"images: .* got torch.uint8; use images.float\(\) / 255"),
        ({"images": IMAGES[0]}, r"images: expected N x C x H x W, got shape \(1, 4, 4\); use images\[None\]"),
        ({"images": IMAGES * 255}, r"images: expected values in \[0, 1\], got \[127.5, 127.5\]; divide by 255"),
        ({"images": IMAGES - 1}, r"images: expected values in \[0, 1\], got \[-0.5, -0.5\]; undo the normalisation"),
        ({"images": IMAGES * torch.tensor([1, torch.nan])[:, None, None, None]}, "1 of 2 images hold NaN"),
        ({"labels": [0, 1]}, r"labels: expected an int64 tensor, got list \[0, 1\]; use torch.as_tensor\(labels\)"),
        ({"labels": LABELS.int()}, r"labels: .*torch.int32 of shape \(2,\); use labels.long\(\)"),
        ({"labels": LABELS.float()}, r"labels: expected int64 of shape \(2,\), got torch.float32 of shape \(2,\)"),
        ({"labels": LABELS[:1]}, r"labels: expected int64 of shape \(2,\), got torch.int64 of shape \(1,\)"),
        ({"labels": torch.eye(3)[LABELS]}, r"labels: .* got torch.float32 of shape \(2, 3\); use labels.argmax\(1\)"),
        ({"labels": LABELS.to("meta")}, r"labels: expected them on the images' device cpu, got meta; use labels.to"),
        ({"threat": "linf"}, r'threat: expected a ThreatModel, got str .linf.; write ThreatModel\("linf", "8/255"\)'),
        ({"threat": 8 / 255}, r"threat: expected a ThreatModel, got float 0.03"),
        ({"threat": ThreatModel(), "eps": 0.1}, "leave one of the two out"),
        ({"eps": "eight"}, r"threat.eps: expected a number such as 0.03 or 8/255, got 'eight'"),
        ({"norm": "l3"}, r"threat.norm: expected one of linf, l2, l1, got 'l3'"),
        (
            {"generator": 0},
            r"generator: expected a torch.Generator, got int 0; use torch.Generator\(\).manual_seed\(0\)",
        ),
    ],
)
@pytest.mark.parametrize("attack", [PGD(steps=1), FGSM()], ids=["PGD", "FGSM"])
def test_an_attack_called_with_something_else(attack: PGD, changed: dict[str, Any], message: str) -> None:
    given = {"model": MODEL, "images": IMAGES, "labels": LABELS, **changed}
    with pytest.raises(InputError, match=message):
        attack(**given)


@pytest.mark.parametrize(
    ("call", "argument", "write"),
    [
        (lambda: train(data="digits"), "data", "Digits"),
        (lambda: train(data=Digits), "data", "Digits"),
        (lambda: train(method="trades"), "method", "TRADES"),
        (lambda: train(method=TRADES), "method", "TRADES"),
        (lambda: train(model="resnet_18"), "model", "ResNet18"),
        (lambda: train(schedule="cosine"), "schedule", "Cosine"),
        (lambda: train(out=3), "out", "path"),
        (lambda: evaluate(MODEL, data="cifar10"), "data", "CIFAR10"),
        (lambda: evaluate(MODEL, IMAGES, LABELS, settings={"budget": "quick"}), "settings", "EvaluationSettings"),
        (lambda: evaluate(MODEL, IMAGES, LABELS, out=3), "out", "path"),
        (lambda: evaluate(nn.Linear, IMAGES, LABELS), "images", "Linear"),
        (lambda: load(MODEL), "run", "path"),
        (lambda: compare([MODEL]), "path", "path"),
    ],
)
def test_an_argument_of_another_class_is_told_what_to_write(
    call: Callable[[], Any], argument: str, write: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"^{argument}: .*{write}"):
        call()
    assert not list(tmp_path.iterdir()), "nothing was begun"


def test_a_network_may_be_a_class_a_function_a_partial_or_an_object() -> None:
    for model in (SmallCNN, lambda num_classes: MODEL, partial(SmallCNN, width=4), MODEL):
        check_arguments(train, {"model": model})


def test_an_attack_takes_a_threat_or_eps_and_norm() -> None:
    """On a linear model the l2 optimum is known: eps along the difference of two rows of weights."""
    model, attack = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), PGD(steps=5, start="clean", loss="margin")
    labels = torch.tensor([0, 0])
    row = (model[1].weight[1] - model[1].weight[0]).detach()
    expected = (0.1 * row / row.norm()).view(1, 4, 4).expand(2, 1, 4, 4)
    for found in (
        attack(model, IMAGES, labels, ThreatModel("l2", 0.1)),
        attack(model, IMAGES, labels, eps="1/10", norm="l2"),
    ):
        torch.testing.assert_close(found - IMAGES, expected, atol=1e-6, rtol=0)


def test_a_generator_of_another_device() -> None:
    with pytest.raises(InputError, match=r'device cuda:0, got one on cpu; use torch.Generator\("cuda:0"\)'):
        check_generator(torch.Generator(), torch.device("cuda:0"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PGD(start="unifrom"), "attack.start: expected one of uniform, normal, clean, got 'unifrom'"),
        (lambda: PGD(mode="evaluation"), "attack.mode: expected one of eval, train, got 'evaluation'"),
        (lambda: PGD(loss="kl"), "attack.loss: expected one of ce, margin, dlr, got 'kl'"),
        (lambda: PGD(steps=2.5), "attack.steps: expected a whole number"),
        (lambda: PGD(step_size="two"), "attack.step_size: expected a number such as 0.03 or 8/255, got 'two'"),
        (lambda: ARR(distance="l3"), "method.distance: expected one of kl, l1, l2, lq, got 'l3'"),
        (lambda: ARoW(inner="pgd"), "method.inner: expected one of kl, ce, got 'pgd'"),
        (lambda: LBGAT(inner="pgd"), "method.inner: expected one of kl, ce, got 'pgd'"),
        (lambda: RegMix(regularizer="l2"), "method.regularizer: expected one of kl, mse, got 'l2'"),
        (
            lambda: ARAT(direction="back"),
            "method.direction: expected one of to_clean, to_adversarial, both, got 'back'",
        ),
        (lambda: D2R(gradient="both"), "method.gradient: expected one of target, guide, mixture, got 'both'"),
        (lambda: TRADES(attack="pgd"), r"method.attack: expected a GradientAttack such as .*, got str 'pgd'"),
        (lambda: PGDAT(attack=PGD), r"method.attack: expected a PGD such as .*, got the class PGD; write PGD\(\)"),
        (lambda: MART(attack=GradientAttack()), "method.attack: expected a PGD such as .*, got GradientAttack"),
    ],
)
def test_constructors_refuse_what_they_do_not_know(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda method: method.under("linf"), "threat: expected a ThreatModel, got str 'linf'"),
        (lambda method: method.under(ThreatModel(), 0), "generator: expected a Generator"),
        (lambda method: method(MODEL, IMAGES), "labels: expected an int64 tensor, got None"),
        (lambda method: method(MODEL, Batch(IMAGES, LABELS), LABELS), "images: expected a Batch alone"),
        (lambda method: method(MODEL, Batch(IMAGES, LABELS), indices=LABELS), "images: expected a Batch alone"),
        (lambda method: method("resnet18", Batch(IMAGES, LABELS)), "model: expected a network"),
        (lambda method: method(MODEL, Batch(IMAGES.byte(), LABELS)), "images: .* got torch.uint8"),
        (lambda method: method(MODEL, Batch(IMAGES, LABELS.int())), "labels: .* got torch.int32"),
    ],
)
def test_a_method_in_a_loop_of_ones_own(call: Callable[[TRADES], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(TRADES())


@pytest.mark.parametrize("loss", [kl, squared_error, lambda a, b: lq_distance(a, b, 2)], ids=["kl", "mse", "lq"])
@pytest.mark.parametrize("other", [torch.zeros(1, 3), torch.zeros(3), torch.zeros(2, 1)], ids=str)
def test_distances_of_logits_do_not_broadcast(loss: Callable[[Tensor, Tensor], Tensor], other: Tensor) -> None:
    with pytest.raises(InputError, match=r"logits: expected N x K, twice, got shape \(2, 3\) and"):
        loss(torch.zeros(2, 3), other)


@pytest.mark.parametrize("loss", [cross_entropy, margin, dlr])
@pytest.mark.parametrize(
    "target", [LABELS.int(), LABELS.float(), LABELS[:1], LABELS[:, None], torch.zeros(2, 4)], ids=lambda t: str(t.shape)
)
def test_losses_of_labels_name_what_came(loss: Callable[[Tensor, Tensor], Tensor], target: Tensor) -> None:
    with pytest.raises(InputError, match=r"labels: expected int64 of shape \(2,\), .* got torch"):
        loss(torch.zeros(2, 3), target)


def test_images_of_another_shape_are_not_broadcast() -> None:
    with pytest.raises(InputError, match=r"expected the shape of those that they come from, \(1, 1, 4, 4\)"):
        ThreatModel().contains(IMAGES, IMAGES[:1])


def test_arrays_as_images_are_one_call_away() -> None:
    """The cure that the message names works."""
    images = torch.as_tensor(np.full((2, 1, 4, 4), 0.5, np.float32))
    assert PGD(steps=1)(MODEL, images, torch.as_tensor([0, 1])).shape == images.shape
