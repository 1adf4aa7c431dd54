"""Every recipe parses, builds its networks, and says in its header what it does otherwise than was published."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from toughen import catalog
from toughen.attacks import FGSM, PGD
from toughen.cli.parser import Parser, Request
from toughen.commands.train import train
from toughen.data import TinyImageNet
from toughen.methods import (
    ARR,
    D2R,
    EAT,
    FGSMPGI,
    FGSMPGK,
    FGSMRS,
    HAT,
    LBGAT,
    MART,
    NFGSM,
    PGDAT,
    SCORE,
    TRADES,
    FreeAT,
    Method,
    RegMix,
)
from toughen.models import build_model
from toughen.training import SuccessEMA

FINE_TUNING = {name for name in catalog.recipes() if name.startswith("finetune-")}
NAMES = sorted(catalog.recipes().keys() - FINE_TUNING)
# What a header may say of its own accord; the first words of each.
STANDING = {
    "normalises inputs": lambda s: s["normalize"],
    "trains on": lambda s: s["val_images"] is None,
    "chooses the checkpoint on held-out images": lambda s: s["select"] == "best",
    "initialises convolutions by Kaiming fan-out": lambda s: True,
    "starts attacks inside [0, 1]": lambda s: getattr(getattr(s["method"], "attack", None), "start", "") == "normal",
    "counts clean images once": lambda s: isinstance(s["method"], TRADES) and s["method"].clean_passes == 1,
    "remembers perturbations in fp16": lambda s: (
        "perturbation" in s["method"].memories and getattr(s["method"], "prior", True)
    ),
    "keeps the clean batch free": lambda s: not getattr(s["method"], "noise_in_place", True),
}


@cache
def settings(line: str) -> dict[str, Any]:
    request = Parser(train, "", skip=["observer", "progress"]).parse(f"--config {line}".split())
    assert isinstance(request, Request)
    return request.settings


def differences(name: str) -> list[str]:
    """The items of the header's list, each on one line."""
    comments = [line for line in Path(catalog.recipes()[name].path).read_text().splitlines() if line.startswith("#")]
    listed = comments[comments.index("# Differences:") + 1 :]
    return " ".join(line[1:].strip() for line in listed).removeprefix("- ").split(" - ")


def classes_of(data: Any) -> tuple[int, int]:
    """Classes and side of the data's images."""
    return (200, 64) if isinstance(data, TinyImageNet) else (100 if type(data).__name__ == "CIFAR100" else 10, 32)


@pytest.mark.parametrize("name", NAMES)
def test_the_header_says_what_the_settings_do(name: str) -> None:
    said = {phrase for phrase in STANDING for item in differences(name) if item.startswith(phrase)}
    assert said == {phrase for phrase, holds in STANDING.items() if holds(settings(name))}
    held_out = {
        True: "trains on 99,000 images: 1,000 are held out",
        False: "trains on 49,000 images: 1,000 are held out",
    }
    assert held_out[isinstance(settings(name)["data"], TinyImageNet)] in differences(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_networks_are_built_and_give_a_logit_a_class(name: str) -> None:
    s = settings(name)
    classes, side = classes_of(s["data"])
    with torch.device("meta"):
        three = {"mean": [0.5] * 3, "std": [0.2] * 3}
        model = build_model(s["model"], num_classes=classes, in_channels=3, normalize=s["normalize"], **three)
        images = torch.zeros(2, 3, side, side)
        assert model(images).shape == (2, classes)
        method: Method = s["method"]
        if isinstance(method, D2R | LBGAT):
            guide = method.guide.build(model)
            assert guide(images).shape == (2, classes)


def test_the_published_values_that_are_no_defaults() -> None:
    for name in NAMES:
        s, method = settings(name), settings(name)["method"]
        # Of the authors' codes, those of FGSM-RS, N-FGSM, PGD-AT (Rice's), SCORE and Free-AT normalise. The texts of
        # ALP, VAT and ARR do not say; E-AT begins with a network that does; -fast, -30epochs and -...flop are ours.
        normalising = isinstance(method, EAT | FGSMRS | FreeAT | NFGSM | PGDAT | SCORE)
        open_to_us = normalising or name.split("-")[2] in ("alp", "vat", "arr", "fast")
        assert s["normalize"] == (open_to_us or name.endswith("trades-30epochs")), name
        if isinstance(method, D2R | LBGAT):
            assert method.guide.settings == {"strides": [1, 1, 2, 2]}, name
        if isinstance(method, D2R):
            assert method.log_offset == 1e-5, name
        as_published = not name.endswith("flop") and isinstance(method, FGSMPGI | FGSMPGK | FGSMRS | NFGSM)
        if as_published or (isinstance(method, RegMix) and method.prior):
            assert method.attack.mode == "train", name
        if isinstance(s["average"], SuccessEMA):
            assert s["average"].only_failing == name.startswith("cifar100"), name
    pgk = settings("tinyimagenet-preactresnet18-fgsmpgk")["model"].keywords
    assert (pgk["final_norm"], pgk["pooled"]) == (False, 2)
    mart = settings("cifar10-wrn34x10-mart")
    assert isinstance(mart["method"], MART)
    assert (mart["epochs"], mart["optimizer"].keywords["weight_decay"]) == (90, 7e-4)


def test_trades_and_trades_with_awp_are_those_of_their_codes() -> None:
    trades = settings("cifar10-wrn34x10-trades")
    assert (trades["epochs"], trades["optimizer"].keywords["weight_decay"], trades["threat"].radius) == (
        76,
        2e-4,
        0.031,
    )
    assert (trades["method"].clean_passes, trades["method"].adversarial_first, trades["awp"]) == (2, False, None)
    # Epochs are counted from 0 here, from 1 there: a tenth of the rate from the 75th.
    assert [trades["schedule"].factor(epoch, 76) for epoch in (0, 73, 74)] == pytest.approx([1, 1, 0.1])
    for name in ("cifar10-wrn34x10-tradesawp", "cifar100-wrn34x10-tradesawp"):
        both = settings(name)
        assert (both["method"].clean_passes, both["method"].adversarial_first) == (2, True)
        assert (both["awp"].gamma, both["awp"].start, both["awp"].decay_moved) == (0.005, 10, True)
        assert [both["schedule"].factor(epoch, 200) for epoch in (98, 99, 149)] == pytest.approx([1, 0.1, 0.01])


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
@pytest.mark.parametrize(
    ("recipe", "distance", "on"),
    [("kl", "kl", "probabilities"), ("l2logits", "l2", "logits"), ("l2probabilities", "l2", "probabilities")],
)
@pytest.mark.parametrize(
    ("option", "attack", "steps"),
    [
        ("", PGD, 3),
        ("--method.attack.steps 2", PGD, 2),
        ("--method.attack.steps 1", PGD, 1),
        ("--method.attack FGSM", FGSM, 1),
    ],
)
def test_arr_in_every_form_of_its_text(
    data: str, recipe: str, distance: str, on: str, option: str, attack: type, steps: int
) -> None:
    s = settings(f"{data}-resnet18-arr-{recipe} {option}")
    assert isinstance(s["method"], ARR)
    assert (s["method"].distance, s["method"].on) == (distance, on)
    assert type(s["method"].attack) is attack
    assert s["method"].attack.steps == steps
    assert (s["epochs"], s["optimizer"].keywords["lr"], s["optimizer"].keywords["momentum"]) == (200, 0.1, 0.9)
    assert [s["schedule"].factor(epoch, 200) for epoch in (99, 100, 150)] == pytest.approx([1, 0.1, 0.01])


def test_the_helper_of_hat_sees_the_images_that_hat_sees() -> None:
    for name in NAMES:
        if isinstance(settings(name)["method"], HAT):
            assert settings(name)["normalize"] == settings(name.replace("hat", "standard"))["normalize"]


def test_fine_tuning_has_the_settings_of_its_sources() -> None:
    convnet, vit = (settings(f"finetune-{kind} --data.path photos") for kind in ("convnet", "vit"))
    # main.py and run_train.sh of nmndeep/revisiting-at
    assert (convnet["method"].attack.steps, convnet["threat"].radius) == (2, 4 / 255)
    assert (convnet["optimizer"].keywords["betas"], convnet["optimizer"].keywords["weight_decay"]) == (
        (0.9, 0.95),
        0.05,
    )
    assert (convnet["label_smoothing"], convnet["schedule"].warmup / convnet["epochs"]) == (0.1, 10 / 100)
    # configs/xcit-adv-finetuning.yaml of dedeswim/vits-robustness-torch
    assert (type(vit["method"]), vit["method"].attack.steps, vit["threat"].radius) == (TRADES, 10, 8 / 255)
    assert (vit["optimizer"].keywords["lr"], vit["optimizer"].keywords["weight_decay"]) == (5e-5, 0.5)
    assert (vit["epochs"], vit["batch_size"], vit["schedule"].warmup) == (20, 64, 5)
    for each in (convnet, vit):
        assert not each["decay_all"] and each["attack_eps"] is not None
