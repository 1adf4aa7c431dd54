"""What all tests share: reference values, and a small network trained on real digits with its test images."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pyautoattack import AutoAttack
from torch import Tensor, nn

from toughen.attacks import PGD, Square
from toughen.attacks.base import FURTHER, PlannedAttack
from toughen.attacks.spsa import SPSA
from toughen.data import Digits, ImageSet
from toughen.data.source import Decoded
from toughen.evaluation import Evaluation, evaluate_model
from toughen.evaluation.checks.reattack import SelfChecks
from toughen.hardware.speed import matmul_peak
from toughen.threat import ThreatModel

torch.set_num_threads(1)

REFERENCE = json.loads((Path(__file__).parent / "reference" / "losses.json").read_text())


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk() -> Iterator[None]:
    """What a test writes need not survive a loss of power; the processes that it starts do wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def the_processors_peak_is_measured_once() -> Iterator[None]:
    """A run takes a fifth of a second for it, longer than many a run of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toughen.training.cost.matmul_peak", cache(matmul_peak))
        yield


@pytest.fixture(scope="module", autouse=True)
def plots_are_painted_but_not_written(request: pytest.FixtureRequest) -> Iterator[None]:
    """The SVG of a page's plots, half the time of a short evaluation, where pages are not what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name not in ("reports", "docs", "analysis"):
            patch.setattr("toughen.reports.svg._written", lambda figure: '<svg viewBox="0 0 1 1"></svg>')
        yield


@pytest.fixture(
    params=range(len(REFERENCE["cases"])), ids=lambda i: f"{len(REFERENCE['cases'][i]['clean'][0])}-classes"
)
def reference(request: pytest.FixtureRequest) -> dict:
    """One case of the authors' values: logits as float64 tensors, labels, and what is expected."""
    case = REFERENCE["cases"][request.param]
    tensors = {name: torch.tensor(case[name], dtype=torch.float64) for name in ("clean", "adv", "init", "guide")}
    predictor = {name: torch.tensor(value, dtype=torch.float64) for name, value in case["predictor"].items()}
    return {
        **tensors,
        "labels": torch.tensor(case["labels"]),
        "predictor": predictor,
        "expected": case["expected"],
    }


@pytest.fixture
def threat() -> ThreatModel:
    return ThreatModel("linf", 8 / 255)


def digits_of(num_classes: int) -> ImageSet:
    """The test digits below `num_classes`."""
    images = Digits().load("test")
    kept = images.labels < num_classes
    pixels = images.images.take(kept.nonzero().squeeze(1))
    return replace(images, images=Decoded(pixels), labels=images.labels[kept], classes=images.classes[:num_classes])


def trained_network(num_classes: int, against: ThreatModel | None = None) -> nn.Module:
    """A convolution, BatchNorm, and a linear layer, trained for a few seconds at most, adversarially where asked."""
    train = Digits().load("train")
    kept = (train.labels < num_classes).nonzero().squeeze(1)
    images, labels = train.subset(kept)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()]
        network = nn.Sequential(*layers, nn.Linear(128, num_classes))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40 if against is None else 60):
        seen = images if against is None else PGD(steps=4)(network, images, labels, against, generator)
        optimizer.zero_grad()
        F.cross_entropy(network(seen), labels).backward()
        optimizer.step()
    optimizer.zero_grad()
    return network.eval()


@pytest.fixture(scope="session")
def network() -> nn.Module:
    return trained_network(10)


@pytest.fixture(scope="session")
def robust_network() -> nn.Module:
    """Trained adversarially: PGD at l-inf 0.1 leaves more than half of the digits, and it breaks some."""
    return trained_network(10, ThreatModel("linf", 0.1))


@pytest.fixture(scope="session")
def batch() -> tuple[Tensor, Tensor]:
    """Twelve test digits and their labels."""
    return Digits().load("test").subset(torch.arange(12))


class ShortAutoAttack(AutoAttack):
    """AutoAttack with a tenth of its iterations: the same course, for tests that look at what is around it."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        for attack in (self.apgd, self.apgd_targeted, self.fab):
            attack.n_iter = 10
        self.apgd.n_iter_orig = self.apgd_targeted.n_iter_orig = 10
        self.square.n_queries = 100


@contextmanager
def autoattack_is_short() -> Iterator[type[AutoAttack]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyautoattack.AutoAttack", ShortAutoAttack)
        yield ShortAutoAttack


@pytest.fixture
def short_autoattack() -> Iterator[type[AutoAttack]]:
    """While the test runs, AutoAttack is short."""
    with autoattack_is_short() as short:
        yield short


@pytest.fixture(scope="session")
def shortly() -> Callable[[], AbstractContextManager[type[AutoAttack]]]:
    """For fixtures of a module: inside what this gives, AutoAttack is short."""
    return autoattack_is_short


@pytest.fixture(scope="module")
def short_self_checks() -> Iterator[None]:
    """While a test of the module runs, the self-checks attack four images, and ask each less often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SelfChecks.__init__, "__defaults__", (4, 2, 20))
        yield


@pytest.fixture(scope="module")
def short_further() -> Iterator[None]:
    """While a test of the module runs, the attacks that follow a doubt ask the network less often."""
    asked = zip(FURTHER, (Square(queries=200), SPSA(directions=2)), strict=True)
    attacks = tuple(PlannedAttack(name, attack, True) for name, attack in asked)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("runner", "whole"):
            patch.setattr(f"toughen.evaluation.{module}.further_attacks", lambda protocol: attacks)
        yield


@pytest.fixture(scope="session")
def images() -> ImageSet:
    """The 360 test digits."""
    return Digits().load("test")


@pytest.fixture(scope="session")
def standard(network: nn.Module, images: ImageSet) -> Evaluation:
    """The standard budget, its AutoAttack a short one, on 20 digits, 10 at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyautoattack.AutoAttack", ShortAutoAttack)
        threat = ThreatModel("linf", 0.08)
        given = {"test_images": 20, "sample": "first", "batch_size": 10, "seed": 3, "device": "cpu"}
        return evaluate_model(network, images, threat, **given)


@pytest.fixture(scope="session")
def few_classes() -> Callable[[int], tuple[nn.Module, Tensor, Tensor]]:
    """A network for the first digits and eight test images of them."""

    def make(num_classes: int) -> tuple[nn.Module, Tensor, Tensor]:
        return trained_network(num_classes), *digits_of(num_classes).subset(torch.arange(8))

    return make


@pytest.fixture(scope="session")
def untrained() -> Callable[[int, int, int], tuple[nn.Module, Tensor, Tensor]]:
    """A maker of networks of so many classes for images of so many channels and pixels; see `untrained_network`."""
    return untrained_network


def untrained_network(num_classes: int, channels: int, size: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network with random weights, and images of which it classifies all but the first as they are labelled."""
    generator = torch.Generator().manual_seed(num_classes * size + channels)
    stride = max(2, size // 8)
    network = nn.Sequential(
        nn.Conv2d(channels, 6, stride, stride=stride), nn.ReLU(), nn.Flatten(), nn.LazyLinear(num_classes)
    )
    images = torch.rand(6, channels, size, size, generator=generator)
    with torch.no_grad():
        network(images)
        for name, parameter in network.named_parameters():
            parameter.normal_(std=parameter[0].numel() ** -0.5 if "weight" in name else 0.01, generator=generator)
        # No class is preferred: the mean of its logit over the images is 0.
        network[-1].bias -= network(images).mean(0)
        labels = network(images).argmax(1)
    labels[0] = (labels[0] + 1) % num_classes
    count = 6 if size < 100 else 3
    return network.eval(), images[:count], labels[:count]
