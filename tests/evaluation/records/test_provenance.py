"""Hashes that change with everything that a model's outputs depend on."""

import copy
import hashlib
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toughen.evaluation.records.provenance import model_facts


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
