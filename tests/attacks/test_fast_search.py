"""A search on a faster copy, and what the model itself says of it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from toughen.attacks import PGD, Attack, AutoAttack, Square
from toughen.attacks.base import AttackResult, PlannedAttack
from toughen.attacks.fast_search import FastSearch, choose_search, in_precision
from toughen.attacks.transfer import Transfer
from toughen.errors import InputError, ToughenWarning
from toughen.evaluation import evaluate_model
from toughen.models.replica import InBf16, Replicas, Search
from toughen.threat import ThreatModel

THREAT = ThreatModel("linf", 0.1)


def run(attack: Any, model: nn.Module, images: Tensor, labels: Tensor) -> AttackResult:
    return attack.run(model, images, labels, THREAT, torch.Generator().manual_seed(0))


class Edge(nn.Module):
    """Class 1 where the first pixel exceeds 0.5015; under autocast, as if by rounding, where it exceeds 0.5."""

    def forward(self, images: Tensor) -> Tensor:
        first = images[:, 0, 0, 0]
        edge = 0.5 if torch.is_autocast_enabled(images.device.type) else 0.5015
        return torch.stack([torch.full_like(first, edge), first], dim=1)


@dataclass(frozen=True)
class Steps(Attack):
    """Moves the first pixel by 0.002 against a model in bf16, and by 0.0035 against one in fp32."""

    calls: list[tuple[bool, int]]
    composite: ClassVar[bool] = True

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        return {"steps": 2}

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: Any
    ) -> AttackResult:
        self.calls.append((isinstance(model, InBf16), len(images)))
        moved = images.clone()
        moved[:, 0, 0, 0] = images[:, 0, 0, 0] + (0.002 if isinstance(model, InBf16) else 0.0035)
        held = model(moved).argmax(1) == labels
        return AttackResult(moved, held, [None if h else "bf16" if isinstance(model, InBf16) else "fp32" for h in held])


def test_what_only_bf16_had_broken_is_attacked_again_in_fp32():
    """First pixels: only bf16 is fooled at 0.5005, and then fp32 at 0.502; both at 0.502; none at 0.302."""
    first = torch.tensor([0.4985, 0.5, 0.3])
    images = first.view(3, 1, 1, 1).expand(3, 1, 2, 2).contiguous()
    labels = torch.tensor([0, 0, 0])
    attack = Steps([])
    with pytest.warns(ToughenWarning, match="no faster copy"):
        attempt = run(FastSearch(attack, Replicas("bf16")), Edge(), images, labels)
    assert attack.calls == [(True, 3), (False, 1)]
    assert attempt.repeated == 1
    assert attempt.held.tolist() == [False, False, True]
    assert attempt.broken_by == ["fp32", "bf16", None]
    assert attempt.adversarial[:, 0, 0, 0].tolist() == pytest.approx([0.502, 0.502, 0.302])


@pytest.mark.parametrize("search", ["folded", "bf16"])
def test_verdicts_are_those_of_fp32(network, images, search: Search, recwarn):
    """On digits all searches find the same; every image counted as broken is misclassified in fp32."""
    settings = {"budget": "quick", "test_images": 120, "device": "cpu", "checks": False}
    exact = evaluate_model(network, images, THREAT, precision="fp32", **settings)
    mixed = evaluate_model(network, images, THREAT, precision=search, **settings)
    agreement = (exact.verdicts.robust() == mixed.verdicts.robust()).mean()
    assert agreement >= 0.97
    assert not any("no faster copy" in str(warning.message) for warning in recwarn)
    assert mixed.result["precision"] == mixed.result["attacks"]["fgsm"]["search"] == search
    assert mixed.result["repeated"].keys() == {"fgsm", "pgd20_margin"}
    assert mixed.result["key"] != exact.result["key"]
    shown = mixed.gallery
    with torch.no_grad():
        assert torch.equal(network(shown["adversarial"]).argmax(1), shown["adversarial_predictions"])


@pytest.mark.parametrize("search", ["folded", "bf16"])
@pytest.mark.parametrize("attack", [AutoAttack(10), Square(queries=200)], ids=["autoattack", "square"])
def test_the_librarys_attacks_search_on_the_copy_and_are_checked(
    network, batch, short_autoattack, search: Search, attack: Attack
):
    images, labels = batch
    attempt = run(FastSearch(attack, Replicas(search)), network, images, labels)
    with torch.no_grad():
        assert torch.equal(network(attempt.adversarial).argmax(1) == labels, attempt.held)
    assert 0 < attempt.held.sum() < len(labels)
    assert bool(THREAT.contains(attempt.adversarial, images).all())


def test_a_transfer_stays_in_fp32(network):
    gradient, transfer = PlannedAttack("pgd", PGD()), PlannedAttack("other", Transfer(network))
    mixed = in_precision((gradient, transfer), "bf16")
    assert isinstance(mixed[0].attack, FastSearch)
    assert mixed[1] is transfer
    assert in_precision((gradient, transfer), "fp32") == (gradient, transfer)


FINE = ThreatModel("linf", 0.5 / 255)


@pytest.mark.parametrize(
    ("native", "flops", "threat", "auto"),
    [
        (True, 1e9, THREAT, "bf16"),
        (True, 1e3, THREAT, "folded"),
        (False, 1e9, THREAT, "folded"),
        (True, 1e9, FINE, "folded"),
        (True, 1e9, ThreatModel("l2", 0.5), "folded"),
    ],
)
def test_precisions(monkeypatch, native: bool, flops: float, threat: ThreatModel, auto: str):
    monkeypatch.setattr("toughen.hardware.precision.native_bf16", lambda device: native)
    cpu = torch.device("cpu")
    assert choose_search("auto", cpu, threat, lambda: flops) == auto
    for name in ("fp32", "folded", "bf16"):
        assert choose_search(name, cpu, threat, lambda: flops) == name


def test_an_unknown_precision():
    with pytest.raises(InputError, match="precision: unknown 'half'"):
        choose_search("half", torch.device("cpu"), THREAT, lambda: 1.0)


@pytest.mark.parametrize(("pays", "auto"), [(1e3, "bf16"), (1e9, "folded")])
def test_auto_counts_the_models_flops(network, images, monkeypatch, pays: float, auto: str):
    """The network takes some ten thousand for a digit."""
    monkeypatch.setattr("toughen.hardware.precision.native_bf16", lambda device: True)
    monkeypatch.setattr("toughen.hardware.precision.PAYS", pays)
    settings = {"budget": "quick", "test_images": 10, "device": "cpu", "checks": False}
    assert evaluate_model(network, images, THREAT, precision="auto", **settings).result["precision"] == auto


class Masked(nn.Module):
    """A network through which no gradient comes, so that only Square and chance break an image.

    Its logits are about 100, where bf16 tells apart what differs by a half.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images.detach() + 0 * images) + 100


@pytest.mark.parametrize(
    ("attack", "eps"), [(AutoAttack(10), "8/255"), (Square(queries=300), "4/255")], ids=["autoattack", "square"]
)
def test_bf16_does_not_blind_square(network, images, short_autoattack, attack: Attack, eps: str):
    """Its steps are smaller than what bf16 tells apart: an image counts as robust only where fp32 says so."""
    threat, model = ThreatModel("linf", eps), Masked(network)
    pictures, labels = images.subset(torch.arange(200))
    with torch.no_grad():
        near = network(pictures).topk(2, dim=1).values
    rows = (near[:, 0] - near[:, 1]).argsort()[:60]
    rows = rows[network(pictures[rows]).argmax(1) == labels[rows]]
    held = []
    for search in (attack, FastSearch(attack, Replicas("bf16"))):
        attempt = search.run(model, pictures[rows], labels[rows], threat, torch.Generator().manual_seed(0))
        with torch.no_grad():
            held.append(int((model(attempt.adversarial).argmax(1) == labels[rows]).sum()))
    assert 0 < held[0] < len(rows)
    assert held[1] <= held[0] + 1
