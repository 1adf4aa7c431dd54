"""Hashes that change with everything that a model's outputs depend on."""

import collections
import copy
import functools
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

from toughen.models.facts import model_facts
from toughen.models.outputs import giving_logits


class Scaled(nn.Module):
    """A network with a factor that is no parameter, an offset outside the state dict, and a function."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.factor = 2.0
        self.activation = F.relu
        self.mean = torch.zeros(1)
        self.register_buffer("offset", torch.zeros(1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.activation(self.factor * (self.network(images) - self.mean)) + self.offset


def hashes(model: nn.Module) -> tuple[str, str]:
    facts = model_facts(model)
    return facts["sha256"], facts["code_sha256"]


def test_the_weights_hash_is_over_the_state_dict(network):
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode() + tensor.numpy().tobytes())
    facts = model_facts(network)
    assert facts["sha256"] == digest.hexdigest()
    assert facts["parameters"] == sum(p.numel() for p in network.parameters())
    assert facts["class"] == "torch.nn.modules.container.Sequential"


def test_one_weight_changes_the_weights_hash(network):
    changed = copy.deepcopy(network)
    with torch.no_grad():
        changed[4].bias[3] += 1e-6
    assert hashes(changed)[0] != hashes(network)[0]
    assert hashes(changed)[1] == hashes(network)[1]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("factor", 3.0),
        ("activation", F.gelu),
        ("mean", torch.ones(1)),
        ("offset", torch.ones(1)),
        ("extra", [1, {"a": None}]),
    ],
)
def test_what_is_no_weight_changes_the_other_hash(network, attribute: str, value: object):
    first, changed = Scaled(network), Scaled(network)
    setattr(changed, attribute, value)
    assert hashes(changed)[0] == hashes(first)[0]
    assert hashes(changed)[1] != hashes(first)[1]


def test_layer_settings_and_hooks_count():
    assert hashes(nn.Sequential(nn.Dropout(0.1)))[1] != hashes(nn.Sequential(nn.Dropout(0.2)))[1]
    hooked = nn.Sequential(nn.Dropout(0.1))
    hooked[0].register_forward_hook(lambda module, arguments, output: 2 * output)
    assert hashes(hooked)[1] != hashes(nn.Sequential(nn.Dropout(0.1)))[1]


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    "computed",
    [nn.utils.weight_norm, nn.utils.spectral_norm, lambda layer: prune.l1_unstructured(layer, "weight", 0.5)],
    ids=["weight_norm", "spectral_norm", "pruned"],
)
def test_a_computed_weight_that_is_left_from_the_initialisation_does_not_count(computed: Callable[..., nn.Module]):
    """As in another process: a network built anew, with its own random weights, and then loaded."""
    first = computed(nn.Linear(4, 3)).eval()
    images = torch.rand(2, 4)
    expected = first(images)
    other = computed(nn.Linear(4, 3)).eval()
    other.load_state_dict(first.state_dict())
    facts = hashes(other)
    assert torch.equal(other(images), expected)
    assert facts == hashes(first) == hashes(other)


def test_the_hook_that_finds_the_logits_does_not_count():
    """A run's network has it while it is trained; loaded again it gets it only after it was hashed."""

    class Beside(nn.Linear):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"logits": super().forward(images)}

    model = Beside(4, 3)
    twin = giving_logits(model, torch.rand(2, 4))
    assert isinstance(twin(torch.rand(2, 4)), Tensor)
    assert hashes(twin) == hashes(model)


def test_a_copy_in_another_mode_is_the_same_model(network):
    first = Scaled(network)
    other = copy.deepcopy(first).train()
    other.requires_grad_(False)
    assert hashes(other) == hashes(first)


def test_edited_code_is_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The same class and weights; only the source of its forward pass changed."""
    source = "from torch import nn\nclass Net(nn.Flatten):\n    def forward(self, x):\n        return {} * x\n"
    found = []
    monkeypatch.syspath_prepend(str(tmp_path))
    for factor in (1, 2):
        (tmp_path / "edited_network.py").write_text(source.format(factor))
        sys.modules.pop("edited_network", None)
        import edited_network

        found.append(hashes(edited_network.Net())[1])
    sys.modules.pop("edited_network", None)
    assert found[0] != found[1]


SCALE = np.float32(1)


def scaled_by_helper(images: Tensor) -> Tensor:
    return images * float(SCALE)


class Constants(nn.Module):
    """A network that is multiplied by whatever stands in `held`, and by a global of this module."""

    def __init__(self, network: nn.Module, held: object) -> None:
        super().__init__()
        self.network, self.held = network, held

    def forward(self, images: Tensor) -> Tensor:
        return scaled_by_helper(self.network(images))


@dataclass
class Setting:
    factor: float


class Plain:
    def __init__(self, factor: object) -> None:
        self.factor = factor


class Slotted:
    __slots__ = ("factor",)

    def __init__(self, factor: object) -> None:
        self.factor = factor


def times(factor: float) -> Callable[..., object]:
    return lambda *values: values[-1] * factor


@pytest.mark.parametrize(
    "held",
    [
        np.float32,
        lambda value: np.array([value]),
        lambda value: [torch.tensor(value)],
        lambda value: {"a": (torch.tensor(value), np.array(value))},
        lambda value: {torch.tensor(value)},
        Setting,
        lambda value: Plain(Plain(np.float64(value))),
        Slotted,
        lambda value: [nn.PReLU(init=value)],
        lambda value: functools.partial(torch.mul, other=value),
        lambda value: times(value).__get__(Plain(1)),
        times,
        lambda value: collections.deque([value]),
    ],
)
def test_whatever_holds_a_constant_counts(network, held: Callable[[float], object]):
    first, same, other = (hashes(Constants(network, held(value)))[1] for value in (1.0, 1.0, 0.2))
    assert first == same != other


def test_globals_and_constants_of_helpers_count(network, monkeypatch: pytest.MonkeyPatch):
    first = hashes(Constants(network, None))[1]
    monkeypatch.setattr(sys.modules[__name__], "SCALE", np.float32(0.2))
    assert hashes(Constants(network, None))[1] != first


def test_lambdas_hooks_and_a_replaced_forward_count(network):
    def changed(change: Callable[[nn.Module], object]) -> str:
        model = copy.deepcopy(network)
        change(model)
        return hashes(model)[1]

    def with_hook(factor: float) -> str:
        return changed(lambda model: model[0].register_forward_hook(times(factor)))

    def with_forward(factor: float) -> str:
        return changed(lambda model: setattr(model[0], "forward", times(factor)))

    assert len({hashes(network)[1], with_hook(1.0), with_hook(0.2), with_forward(1.0), with_forward(0.2)}) == 5
    assert with_hook(1.0) == with_hook(1.0)
    halves = [changed(lambda model, f=f: setattr(model, "f", f)) for f in (lambda x: x / 2, lambda x: x / 3)]
    assert halves[0] != halves[1]


def test_code_without_a_file_counts(network):
    """As in a notebook: only the bytecode tells the two apart."""
    found = []
    for factor in (1, 2):
        scope: dict[str, type[nn.Module]] = {"nn": nn, "__name__": "cell"}
        exec(f"class Net(nn.Flatten):\n    def forward(self, x):\n        return {factor} * x\n", scope)
        found.append(hashes(scope["Net"]())[1])
    assert found[0] != found[1]


def test_what_is_used_stays_the_same_model(network):
    model = Constants(network, [torch.Generator(), np.random.default_rng(0)])
    first = hashes(model)
    model(torch.zeros(2, 1, 8, 8))
    torch.rand(1, generator=model.held[0])
    assert hashes(model) == first
