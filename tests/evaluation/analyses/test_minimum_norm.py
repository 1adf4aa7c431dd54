"""The smallest perturbation of each image, where it is known, and against the library called directly."""

import copy
import math

import eagerpy
import foolbox
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toughen.attacks import PGD
from toughen.errors import InputError
from toughen.evaluation.analyses import MinimumNorm
from toughen.threat import ThreatModel

NORMS = pytest.mark.parametrize(("norm", "eps", "excess"), [("linf", 0.01, 0.01), ("l2", 0.1, 0.06), ("l1", 0.6, 0.25)])


@NORMS
def test_the_distance_to_a_plane(study, linear, norm: str, eps: float, excess: float) -> None:
    """Never less than the smallest there is, and on average little more."""
    facts = study(MinimumNorm(), linear.model, linear.images, ThreatModel(norm, eps), batch_size=40)
    exact, found = np.array(linear.smallest(norm)), np.array(facts["norms"], dtype=float)
    assert found[0] == 0
    assert (found[1:] >= exact[1:] * (1 - 1e-4)).all()
    assert np.mean(found[1:] / exact[1:]) < 1 + excess
    assert facts["held_at_eps"]["held"] == int((found > eps).sum())
    assert (facts["norm"], facts["n"]) == (norm, 40)
    assert facts["attack"] == ("DDN" if norm == "l2" else "FMN")


@NORMS
def test_quantiles_are_the_radii_that_break_a_share(study, linear, norm: str, eps: float, excess: float) -> None:
    facts = study(MinimumNorm(steps=30), linear.model, linear.images, ThreatModel(norm, eps))
    norms = sorted(facts["norms"])
    for share, radius in facts["quantiles"].items():
        needed = math.ceil(float(share) * 40)
        assert sum(norm <= radius for norm in norms) >= needed > sum(norm < radius for norm in norms)
    assert facts["median"] == facts["quantiles"]["0.5"]


def test_ddn_is_the_librarys_own(study, linear) -> None:
    pictures, labels = linear.images.subset(torch.arange(1, 40))
    model = foolbox.PyTorchModel(linear.model, bounds=(0, 1), device="cpu")
    wrong = foolbox.criteria.Misclassification(eagerpy.astensor(labels))
    direct = foolbox.attacks.DDNAttack(steps=100, init_epsilon=0.1).run(model, pictures, wrong)
    facts = study(MinimumNorm(), linear.model, linear.images, ThreatModel("l2", 0.1), batch_size=40)
    assert facts["norms"][1:] == pytest.approx((direct - pictures).flatten(1).norm(dim=1).tolist(), rel=1e-5)


def test_fmn_is_the_librarys_own_or_better(study, network, images) -> None:
    pictures, labels = images.subset(torch.arange(40))
    frozen = copy.deepcopy(network).requires_grad_(False)
    right = frozen(pictures).argmax(1) == labels
    model = foolbox.PyTorchModel(frozen, bounds=(0, 1), device="cpu")
    wrong = foolbox.criteria.Misclassification(eagerpy.astensor(labels[right]))
    direct = foolbox.attacks.LInfFMNAttack().run(model, pictures[right], wrong)
    facts = study(MinimumNorm(), network, images, ThreatModel("linf", 0.08), test_images=40, batch_size=40)
    found = torch.tensor(facts["norms"])[right]
    assert (found <= (direct - pictures[right]).abs().flatten(1).amax(1) + 1e-6).all()


def test_it_agrees_with_pgd_on_digits(study, network, images) -> None:
    """The share whose smallest perturbation exceeds eps is what PGD leaves, give or take one image."""
    threat = ThreatModel("linf", 0.08)
    facts = study(MinimumNorm(), network, images, threat, test_images=50, batch_size=50)
    pictures, labels = images.subset(torch.arange(50))
    attack = PGD(steps=50, restarts=2, keep_best=True, loss="margin")
    found = attack(network, pictures, labels, threat, torch.Generator().manual_seed(0))
    with torch.no_grad():
        held = int((network(found).argmax(1) == labels).sum())
    assert 10 < held < 40
    assert abs(facts["held_at_eps"]["held"] - held) <= 1


class Constant(nn.Module):
    """The same class whatever it sees."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :2] * 0 + torch.tensor([2.0, 0.0])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_where_nothing_is_found_there_is_no_norm(study, linear, norm: str) -> None:
    facts = study(MinimumNorm(steps=3), Constant(), linear.images, ThreatModel(norm))
    right = (linear.images.labels == 0).tolist()
    assert facts["norms"] == [None if each else 0.0 for each in right]
    assert facts["held_at_eps"]["held"] == sum(right)
    assert facts["quantiles"]["0.95"] is None


def test_the_same_again_and_nothing_of_the_caller_is_touched(study, network, images) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    threat = ThreatModel("l2", 0.4)
    first, second = (study(MinimumNorm(images=10), network, images, threat, test_images=20) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert first["n"] == 10


def test_settings_out_of_range() -> None:
    with pytest.raises(InputError, match="steps: expected at least 1, got 0"):
        MinimumNorm(steps=0)
