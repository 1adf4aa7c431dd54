"""A search in bf16, and what fp32 says of it."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from toughen.attacks import PGD
from toughen.errors import InputError
from toughen.evaluation import evaluate_model
from toughen.evaluation.mixed import InBf16, Mixed, choose_precision, in_precision
from toughen.evaluation.named import Attempt, Ensemble, Gradient
from toughen.evaluation.transfer import Transfer
from toughen.threat import ThreatModel

THREAT = ThreatModel("linf", 0.1)


def run(attack: Any, model: nn.Module, images: Tensor, labels: Tensor) -> Attempt:
    return attack.run(model, images, labels, THREAT, torch.Generator().manual_seed(0))


def test_the_search_is_in_bf16_and_gives_fp32(network, batch):
    seen = []
    handle = network[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    images = batch[0].clone().requires_grad_(True)
    logits = InBf16(network)(images)
    handle.remove()
    assert seen == [torch.bfloat16]
    assert logits.dtype == torch.float32
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    assert gradient.dtype == torch.float32
    exact = network(batch[0])
    assert not torch.equal(logits, exact)
    assert torch.allclose(logits, exact, atol=0.05 * exact.abs().max().item())


class Edge(nn.Module):
    """Class 1 where the first pixel exceeds 0.5015; under autocast, as if by rounding, where it exceeds 0.5."""

    def forward(self, images: Tensor) -> Tensor:
        first = images[:, 0, 0, 0]
        edge = 0.5 if torch.is_autocast_enabled(images.device.type) else 0.5015
        return torch.stack([torch.full_like(first, edge), first], dim=1)


@dataclass(frozen=True)
class Steps:
    """Moves the first pixel by 0.002 against a model in bf16, and by 0.0035 against one in fp32."""

    calls: list[tuple[bool, int]]
    name: str = "steps"
    survivors_only: bool = False
    composite: bool = True

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        return {"steps": 2}

    def run(self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: Any) -> Attempt:
        self.calls.append((isinstance(model, InBf16), len(images)))
        moved = images.clone()
        moved[:, 0, 0, 0] = images[:, 0, 0, 0] + (0.002 if isinstance(model, InBf16) else 0.0035)
        held = model(moved).argmax(1) == labels
        return Attempt(moved, held, [None if h else "bf16" if isinstance(model, InBf16) else "fp32" for h in held])


def test_what_only_bf16_had_broken_is_attacked_again_in_fp32():
    """First pixels: only bf16 is fooled at 0.5005, and then fp32 at 0.502; both at 0.502; none at 0.302."""
    first = torch.tensor([0.4985, 0.5, 0.3])
    images = first.view(3, 1, 1, 1).expand(3, 1, 2, 2).contiguous()
    labels = torch.tensor([0, 0, 0])
    attack = Steps([])
    attempt = run(Mixed(attack), Edge(), images, labels)
    assert attack.calls == [(True, 3), (False, 1)]
    assert attempt.repeated == 1
    assert attempt.held.tolist() == [False, False, True]
    assert attempt.broken_by == ["fp32", "bf16", None]
    assert attempt.adversarial[:, 0, 0, 0].tolist() == pytest.approx([0.502, 0.502, 0.302])


def test_verdicts_are_those_of_fp32(network, images):
    """On digits both searches find the same; every image counted as broken is misclassified in fp32."""
    settings = {"budget": "quick", "test_images": 120, "device": "cpu"}
    exact = evaluate_model(network, images, THREAT, precision="fp32", **settings)
    mixed = evaluate_model(network, images, THREAT, precision="bf16", **settings)
    agreement = (exact.verdicts.robust() == mixed.verdicts.robust()).mean()
    assert agreement >= 0.97
    assert mixed.result["precision"] == "bf16"
    assert mixed.result["attacks"]["fgsm"]["search"] == "bf16"
    assert mixed.result["repeated"].keys() == {"fgsm", "pgd20_margin"}
    assert mixed.result["key"] != exact.result["key"]
    shown = mixed.gallery
    with torch.no_grad():
        assert torch.equal(network(shown["adversarial"]).argmax(1), shown["adversarial_predictions"])


def test_autoattack_searches_in_bf16_and_is_checked(network, batch, short_autoattack):
    images, labels = batch
    attempt = run(Mixed(Ensemble(10)), network, images, labels)
    with torch.no_grad():
        assert torch.equal(network(attempt.adversarial).argmax(1) == labels, attempt.held)
    assert 0 < attempt.held.sum() < len(labels)
    assert bool(THREAT.contains(attempt.adversarial, images).all())


def test_a_transfer_stays_in_fp32(network):
    gradient, transfer = Gradient("pgd", PGD()), Transfer(network, "other")
    mixed = in_precision((gradient, transfer), "bf16")
    assert isinstance(mixed[0], Mixed)
    assert mixed[1] is transfer
    assert in_precision((gradient, transfer), "fp32") == (gradient, transfer)


def test_precisions():
    cpu = torch.device("cpu")
    assert [choose_precision(name, cpu) for name in ("auto", "fp32", "bf16")] == ["fp32", "fp32", "bf16"]
    with pytest.raises(InputError, match="precision: unknown 'half'"):
        choose_precision("half", cpu)
