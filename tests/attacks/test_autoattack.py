"""AutoAttack against direct calls of pyautoattack, and what it must leave alone."""

import copy
import sys
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
import pyautoattack
import pytest
import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

from toughen import attacks
from toughen.attacks import AttackResult
from toughen.attacks.autoattack import plan
from toughen.evaluation import evaluate_model
from toughen.threat import Norm, ThreatModel

LIBRARY_NORM = {"linf": "Linf", "l2": "L2", "l1": "L1"}
SETTINGS: list[tuple[Norm, float]] = [("linf", 0.15), ("l2", 0.6), ("l1", 1.5)]
SEED = 5


def auto_attack(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, *, seed: int, num_classes: int):
    generator = torch.Generator().manual_seed(seed)
    return attacks.AutoAttack(num_classes).run(model, images, labels, threat, generator)


def called_directly(network: nn.Module, batch: tuple[Tensor, Tensor], threat: ThreatModel, seed: int = SEED):
    norm = LIBRARY_NORM[threat.norm]
    # A copy, because FAB leaves gradients in the parameters.
    attack = pyautoattack.AutoAttack(
        copy.deepcopy(network), norm=norm, eps=threat.radius, seed=seed, version="standard", device="cpu"
    )
    with torch.random.fork_rng(devices=[]):
        images, predictions = attack.run_standard_evaluation(*batch, batch_size=len(batch[0]))
    return images, predictions == batch[1]


@pytest.fixture(params=["short", pytest.param("whole", marks=pytest.mark.nightly)])
def length(request: pytest.FixtureRequest) -> None:
    """A tenth of AutoAttack's iterations, which `test_the_iterations_are_the_librarys` counts, and all of them."""
    if request.param == "short":
        request.getfixturevalue("short_autoattack")


@pytest.fixture(params=SETTINGS, ids=[norm for norm, _ in SETTINGS])
def attacked(request: pytest.FixtureRequest, length: None, robust_network, batch) -> tuple[ThreatModel, AttackResult]:
    """A threat model and what AutoAttack made of the batch under it; the model is an adversarially trained one."""
    threat = ThreatModel(*request.param)
    return threat, auto_attack(robust_network, *batch, threat, seed=SEED, num_classes=10)


def test_ten_classes_are_autoattack_standard_bit_for_bit(robust_network, batch, attacked):
    threat, result = attacked
    images, held = called_directly(robust_network, batch, threat)
    assert torch.equal(result.adversarial, images)
    assert torch.equal(result.held, held)
    assert 0 < held.sum() < len(held), "the comparison needs images of both kinds"


@pytest.mark.parametrize("norm", LIBRARY_NORM)
def test_the_iterations_are_the_librarys(monkeypatch: pytest.MonkeyPatch, network, batch, norm: Norm):
    """And its restarts, targets and queries: what each component is set to when it is about to attack."""
    told: list[dict[str, dict[str, Any]]] = []

    class Told(AutoAttack):
        """Every component says how it is set, and finds nothing."""

        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            self.asked: dict[str, dict[str, Any]] = {}
            for name in ("apgd", "apgd_targeted", "fab", "square"):
                component = getattr(self, name)
                component.perturb = partial(self.tell, name, component)
            told.append(self.asked)

        def tell(self, name: str, component: Any, images: Tensor, labels: Tensor) -> Tensor:
            kinds = (bool, int, float, str)
            found = {key: value for key, value in vars(component).items() if isinstance(value, kinds)}
            self.asked[name] = {**found, "device": str(component.device)}
            return images

    monkeypatch.setattr("pyautoattack.AutoAttack", Told)
    threat = ThreatModel(norm, 0.1)
    auto_attack(network, *batch, threat, seed=SEED, num_classes=10)
    called_directly(network, batch, threat)
    ours, librarys = told
    assert list(ours) == list(librarys) == ["apgd", "apgd_targeted", "fab", "square"]
    assert ours == librarys


@pytest.mark.nightly
def test_a_whole_evaluation_is_the_librarys_call(robust_network, images):
    """Verdicts and images of the standard budget, with all iterations, in two batches with the seed of each."""
    threat = ThreatModel("linf", 0.15)
    settings = {"test_images": 16, "sample": "first", "batch_size": 8, "seed": SEED, "device": "cpu", "checks": False}
    evaluation = evaluate_model(robust_network, images, threat, **settings)
    verdicts, gallery = evaluation.verdicts, evaluation.gallery
    shown = {picture.numpy().tobytes(): row for row, picture in enumerate(gallery["clean"])}
    compared = 0
    for position in (0, 8):
        pictures, labels = images.subset(torch.arange(position, position + 8))
        found, held = called_directly(robust_network, (pictures, labels), threat, seed=SEED + position)
        assert verdicts.held("autoattack")[position : position + 8].tolist() == held.tolist()
        for row in (~held & (found != pictures).flatten(1).any(1)).nonzero().squeeze(1).tolist():
            place = shown.get(pictures[row].numpy().tobytes())
            if place is not None:
                assert torch.equal(gallery["adversarial"][place], found[row])
                compared += 1
    assert compared >= 2
    assert 0 < verdicts.held("autoattack").sum() < 16


def test_adversarial_images_are_allowed_and_misclassified(robust_network, batch, attacked):
    (images, labels), (threat, result) = batch, attacked
    delta = (result.adversarial - images).flatten(1).double()
    sizes = {"linf": delta.abs().amax(1), "l2": delta.square().sum(1).sqrt(), "l1": delta.abs().sum(1)}
    size = sizes[threat.norm]
    assert float(size.max()) <= threat.radius * (1 + 1e-5)
    assert 0 <= float(result.adversarial.min()) <= float(result.adversarial.max()) <= 1
    with torch.no_grad():
        right = robust_network(result.adversarial).argmax(1) == labels
    assert torch.equal(right, result.held)
    assert torch.equal(size > 0, torch.tensor([name not in (None, "clean") for name in result.broken_by]))


def test_the_component_that_broke_an_image_is_named(robust_network, batch, attacked):
    """The first component alone breaks exactly the images that it is named for."""
    threat, result = attacked
    settings = {"n_restarts": 5, "use_largereps": True} if threat.norm == "l1" else {"n_restarts": 1}
    attack = pyautoattack.AutoAttack(
        copy.deepcopy(robust_network), norm=LIBRARY_NORM[threat.norm], eps=threat.radius, seed=SEED
    )
    attack.attacks_to_run = ["apgd-ce"]
    vars(attack.apgd).update(settings)
    with torch.random.fork_rng(devices=[]):
        _, predictions = attack.run_standard_evaluation(*batch, batch_size=len(batch[0]))
    named = [name in ("apgd-ce", "clean") for name in result.broken_by]
    assert torch.equal(torch.tensor(named), predictions != batch[1])
    assert [name is None for name in result.broken_by] == result.held.tolist()


@pytest.mark.parametrize(
    ("num_classes", "components", "apgd_targets", "fab_targets", "standard"),
    [
        (2, ("apgd-ce", "fab-t", "square"), 0, 1, False),
        (3, ("apgd-ce", "apgd-dlr", "fab-t", "square"), 0, 2, False),
        (4, ("apgd-ce", "apgd-t", "fab-t", "square"), 3, 3, False),
        (9, ("apgd-ce", "apgd-t", "fab-t", "square"), 8, 8, False),
        (10, ("apgd-ce", "apgd-t", "fab-t", "square"), 9, 9, True),
        (200, ("apgd-ce", "apgd-t", "fab-t", "square"), 9, 9, True),
    ],
)
def test_plan(num_classes: int, components, apgd_targets: int, fab_targets: int, standard: bool):
    made = plan("linf", num_classes)
    assert (made.components, made.apgd_targets, made.fab_targets) == (components, apgd_targets, fab_targets)
    assert made.standard is standard


def test_plan_of_l1_is_the_librarys(network):
    attack = AutoAttack(network, norm="L1", eps=1.0, version="standard")
    made = plan("l1", 10)
    assert made.apgd_targets == attack.apgd_targeted.n_target_classes == 5
    assert made.fab_targets == attack.fab.n_target_classes == 9
    assert made.components == tuple(attack.attacks_to_run)
    assert made.standard
    assert not plan("l1", 9).standard


@pytest.mark.parametrize(
    ("num_classes", "channels", "size", "norm", "eps"),
    [
        (2, 1, 8, "linf", 0.04),
        (2, 3, 32, "l2", 0.1),
        (2, 1, 28, "l1", 2.0),
        (3, 3, 8, "linf", 0.02),
        (3, 1, 28, "l2", 0.1),
        (3, 3, 20, "l1", 2.0),
        (10, 1, 28, "linf", 0.01),
        (10, 3, 8, "l1", 0.25),
        (37, 3, 32, "l2", 0.025),
        (37, 1, 64, "linf", 0.001),
        (37, 3, 8, "l1", 0.5),
        pytest.param(200, 3, 64, "linf", 0.0005, marks=pytest.mark.nightly),
        (200, 1, 8, "l2", 0.05),
        pytest.param(10, 3, 112, "linf", 0.0005, marks=pytest.mark.nightly),
        pytest.param(3, 3, 224, "linf", 0.0006, marks=pytest.mark.nightly),
        pytest.param(200, 3, 224, "l2", 0.048, marks=pytest.mark.nightly),
    ],
)
def test_any_classes_channels_and_sizes_are_the_librarys(
    short_autoattack, untrained, num_classes: int, channels: int, size: int, norm: Norm, eps: float
):
    """Images and verdicts of the library, told by hand of so few classes; a tenth of the iterations."""
    network, images, labels = untrained(num_classes, channels, size)
    threat = ThreatModel(norm, eps)
    result = auto_attack(network, images, labels, threat, seed=SEED, num_classes=num_classes)
    attack = short_autoattack(copy.deepcopy(network), norm=LIBRARY_NORM[norm], eps=eps, seed=SEED, device="cpu")
    attack.attacks_to_run = {
        2: ["apgd-ce", "fab-t", "square"],
        3: ["apgd-ce", "apgd-dlr", "fab-t", "square"],
    }.get(num_classes, ["apgd-ce", "apgd-t", "fab-t", "square"])
    attack.apgd_targeted.n_target_classes = min(num_classes - 1, 5 if norm == "l1" else 9)
    attack.fab.n_target_classes = min(num_classes - 1, 9)
    with torch.random.fork_rng(devices=[]):
        expected, predictions = attack.run_standard_evaluation(images, labels, batch_size=len(images))
    assert torch.equal(result.adversarial, expected)
    assert torch.equal(result.held, predictions == labels)
    assert 0 < result.held.sum() < len(images) - 1
    assert result.broken_by[0] == "clean"


@pytest.mark.nightly
@pytest.mark.parametrize(("num_classes", "eps"), [(2, 0.25), (3, 0.25), (5, 0.15)])
def test_few_classes_with_all_iterations(few_classes, num_classes: int, eps: float):
    network, images, labels = few_classes(num_classes)
    result = auto_attack(network, images, labels, ThreatModel("linf", eps), seed=0, num_classes=num_classes)
    with torch.no_grad():
        assert torch.equal(network(result.adversarial).argmax(1) == labels, result.held)
    assert 0 < result.held.sum() < len(labels)
    assert set(result.broken_by) <= {*plan("linf", num_classes).components, "clean", None}


def test_random_state_and_model_are_left_as_they_were(short_autoattack, network, batch):
    network.train()
    network[1].eval()
    network[4].weight.requires_grad_(False)
    statistics = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(7)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    try:
        images, labels = batch[0][:4], batch[1][:4]
        auto_attack(network, images, labels, ThreatModel("linf", 0.5), seed=0, num_classes=10)
        assert torch.equal(torch.get_rng_state(), before)
        assert np.array_equal(np.random.get_state()[1], numpy_before)
        assert [module.training for module in network] == [True, False, True, True, True]
        assert not network[4].weight.requires_grad
        assert network[0].weight.requires_grad
        assert all(parameter.grad is None for parameter in network.parameters())
        assert all(torch.equal(tensor, statistics[name]) for name, tensor in network.state_dict().items())
    finally:
        network[4].weight.requires_grad_(True)
        network.eval()


def test_the_trace_hook_survives(short_autoattack, network, batch):
    def tracer(frame: FrameType, event: str, argument: Any) -> None:
        return None

    outer = sys.gettrace()
    sys.settrace(tracer)
    try:
        auto_attack(network, batch[0][:2], batch[1][:2], ThreatModel("linf", 0.9), seed=0, num_classes=10)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(outer)


class Noisy(nn.Module):
    """Adds noise to the logits on every pass."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        return logits + torch.randn(logits.shape)


class Denoised(nn.Module):
    """Moves the images along a gradient of its own before it classifies them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with torch.enable_grad():
            inner = images.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.network(inner).logsumexp(1).sum(), inner)
        return self.network(images + 0.01 * gradient)


class Quantised(nn.Module):
    """Rounds the images, so that no gradient comes through."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images * 8).round() / 8)


@pytest.mark.parametrize(
    ("wrap", "finding"),
    [
        (Noisy, "the model is random"),
        (Denoised, "dynamic defence"),
        (lambda network: nn.Sequential(network, nn.Softmax(1)), "probabilities"),
        (Quantised, "gradient is zero"),
    ],
)
def test_what_the_librarys_checks_find_is_reported(short_autoattack, network, batch, wrap, finding: str):
    images, labels = batch[0][:6], batch[1][:6]
    with torch.random.fork_rng(devices=[]):
        result = auto_attack(wrap(network), images, labels, ThreatModel("linf", 0.9), seed=0, num_classes=10)
    assert any(finding in warning for warning in result.warnings)
    plain = auto_attack(network, images, labels, ThreatModel("linf", 0.9), seed=0, num_classes=10)
    assert plain.warnings == (), "a finding must not stick to the next model"
