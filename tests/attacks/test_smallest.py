"""The smallest perturbation, on a linear network whose distance to the boundary is known."""

import pytest
import torch
from torch import Tensor, nn

from toughen.attacks import FAB
from toughen.attacks.smallest import smallest_perturbations
from toughen.losses import margin
from toughen.threat import Norm, ThreatModel

DUAL = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}


def linear(classes: int) -> nn.Module:
    """Whose boundaries are near grey."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, classes))
    with torch.no_grad():
        network[1].bias[:] = -0.51 * network[1].weight.sum(1)
    return network


def grey(n: int = 40) -> Tensor:
    """Images so far from 0 and 1 that the box is in nobody's way."""
    return 0.5 + 0.02 * torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_distance_to_the_nearest_boundary(norm: Norm, classes: int) -> None:
    """`min_k (z_y - z_k) / |w_y - w_k|_q` in the dual norm, which can lie at another class than the likeliest."""
    network, images = linear(classes), grey()
    logits, weight = network(images), network[1].weight.detach()
    labels = logits.argmax(1)
    labels[0] = (labels[0] + 1) % classes
    gaps = logits.gather(1, labels[:, None]) - logits
    sizes = (weight[labels][:, None] - weight[None]).norm(p=DUAL[norm], dim=2)
    expected = (gaps / sizes).nan_to_num(torch.inf).scatter(1, labels[:, None], torch.inf).amin(1).clamp(min=0)
    generator = torch.Generator().manual_seed(0)
    found = smallest_perturbations(network, images, labels, ThreatModel(norm, 0.01), generator)
    assert found[0] == 0
    torch.testing.assert_close(found, expected.detach(), rtol=0.02, atol=1e-4)


def test_what_is_known_already_counts_where_it_is_nearer() -> None:
    """A search without steps finds nothing, so the line to the known image is all there is."""
    network, images = linear(2), grey(4)
    labels = network(images).argmax(1)
    w = network[1].weight.detach()
    away = (w[1] - w[0]) * torch.where(labels == 0, 1.0, -1.0)[:, None]
    known = images + 0.3 * away.sign().view_as(images)
    generator = torch.Generator().manual_seed(0)
    given = {"threat": ThreatModel("linf", 0.01), "generator": generator, "attack": FAB(targets=1, steps=0)}
    assert smallest_perturbations(network, images, labels, **given).isinf().all()
    found = smallest_perturbations(network, images, labels, **given, known=known)
    expected = margin(network(images), labels).abs() / (w[1] - w[0]).abs().sum()
    torch.testing.assert_close(found, expected.detach(), rtol=1e-2, atol=1e-4)


def test_fab_goes_on_to_the_second_target_where_that_is_nearer() -> None:
    """The likeliest other class lies behind a far boundary, the next behind a near one."""
    network = linear(3)
    with torch.no_grad():
        network[1].weight[:] = torch.tensor([0.0, 0.01, 1.0])[:, None] * torch.ones(16)
        network[1].bias[:] = torch.tensor([0.0, -0.18, -8.4])
    images, labels = torch.full((2, 1, 4, 4), 0.5), torch.zeros(2, dtype=torch.int64)
    assert network(images)[0].argsort(descending=True).tolist() == [0, 1, 2]
    generator = torch.Generator().manual_seed(0)
    near = FAB(targets=2, steps=20).nearest(network, images, labels, ThreatModel("linf", 0.01), generator)
    assert float((near - images).abs().max()) == pytest.approx(0.4 / 16, rel=0.06)  # to class 2; to class 1 it is 0.625
