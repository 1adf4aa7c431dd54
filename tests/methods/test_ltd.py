"""LTD: the formula in plain loops, and a teacher that stays as it is."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import LTD
from toughen.methods.ltd import ltd_terms
from toughen.models import SmallCNN
from toughen.threat import ThreatModel
from toughen.training import SGD
from toughen.training.optimizer import parameter_groups


def softmax(row: list[float], temperature: float = 1.0) -> list[float]:
    total = sum(math.exp(v / temperature) for v in row)
    return [math.exp(v / temperature) / total for v in row]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 5.0])
def test_the_formula_in_plain_loops(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [2 * torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
    natural, robust = [], []
    for z, a, g in zip(*(each.tolist() for each in rows), strict=True):
        p, q, soft = softmax(z), softmax(a), softmax(g, temperature)
        natural.append(-sum(t * math.log(s) for t, s in zip(soft, p, strict=True)))
        robust.append(sum(s * math.log(s / t) for s, t in zip(p, q, strict=True)))
    terms = ltd_terms(*rows, temperature, 6.0)
    assert terms["natural"].values.tolist() == pytest.approx(natural)
    assert terms["robust_kl"].values.tolist() == pytest.approx(robust)
    assert terms["robust_kl"].weight == 6.0


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return SmallCNN(5, 1, width=4)


def test_the_teacher_of_a_file_is_fixed_in_a_step_in_double_precision_and_taught_from(tmp_path: Path) -> None:
    """One whole step is that of the loss written out by hand."""
    file = tmp_path / "standard.safetensors"
    save_file(network(1).state_dict(), file)
    images, labels = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(0)).double(), torch.arange(6) % 5
    method = LTD(str(file), temperature=2.0, beta=3.0, attack=GradientAttack(steps=1, start="clean"))
    method.under(ThreatModel("linf", 0.1))
    model, other = method.prepare(network(0)).double().train(), network(0).double().train()
    method.double().train()
    teacher = network(1).double().eval()
    batch = Batch(images, labels)
    perturbed = method.perturb(model, batch)
    loss = sum(term.weight * term.values.mean() for term in method.terms(model, batch, perturbed).values())
    optimizer = SGD(parameter_groups(model, method), lr=0.1)
    loss.backward()
    optimizer.step()
    p, q = other(images).log_softmax(1), other(perturbed.images).log_softmax(1)
    t = (teacher(images) / 2.0).softmax(1).detach()
    by_hand = (-(t * p).sum(1) + 3.0 * (p.exp() * (p - q)).sum(1)).mean()
    theirs = SGD(other.parameters(), lr=0.1)
    by_hand.backward()
    theirs.step()
    for (name, ours), expected in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.allclose(ours.double(), expected.double(), atol=1e-12), name
    assert all(torch.equal(a, b) for a, b in zip(method.helper.parameters(), teacher.parameters(), strict=True))


def test_what_cannot_be() -> None:
    with pytest.raises(InputError, match=r"method\.temperature"):
        LTD(temperature=0)
    with pytest.raises(InputError, match=r"LTD needs a network .* --method\.standard runs/standard"):
        LTD().prepare(network(0))
