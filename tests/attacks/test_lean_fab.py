"""FAB without needless steps, on linear models, whose boundaries lie at known distances."""

import pytest
import torch
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor, nn

from toughen.attacks.lean_fab import PROBE, LeanFAB, far
from toughen.threat import Norm, ThreatModel

DUAL = {"linf": 1, "l2": 2}


class Counting(nn.Module):
    """A linear model that counts the images of its passes."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.linear, self.images = nn.Linear(48, 4), 0

    def forward(self, images: Tensor) -> Tensor:
        self.images += len(images)
        return self.linear(images.flatten(1))


def distances(model: Counting, images: Tensor, labels: Tensor, norm: Norm) -> Tensor:
    """Of each image to its nearest boundary: a difference of logits by the dual norm of its weights."""
    weight, logits = model.linear.weight, model.linear(images.flatten(1))
    slopes = (weight[labels].unsqueeze(1) - weight).norm(p=DUAL[norm], dim=2)
    gaps = (logits.gather(1, labels.unsqueeze(1)) - logits) / slopes
    return gaps.scatter(1, labels.unsqueeze(1), torch.inf).amin(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_lies_in_the_ball_breaks_and_what_lies_far_off_is_left(norm: Norm):
    model = Counting()
    # Grey enough that no pixel comes to a side of the box.
    images = 0.3 + 0.4 * torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(images).argmax(1)
        distance = distances(model, images, labels, norm)
    threat = ThreatModel(norm, float(distance.quantile(0.2)))
    attack = FABAttack_PT(
        model, norm=threat.library_norm, eps=threat.radius, n_iter=40, targeted=True, n_target_classes=3, device="cpu"
    )
    lean = LeanFAB(attack, threat)
    asked = []
    with torch.no_grad():
        for rows in (distance > 0, distance > 1.01 * far(threat) * threat.radius):
            model.images = 0
            found = lean.perturb(images[rows], labels[rows])
            asked.append(model.images / int(rows.sum()))
            broken = model(found).argmax(1) != labels[rows]
            clear = (distance[rows] / threat.radius - 1).abs() > 1e-3
            assert torch.equal(broken[clear], (distance[rows] < threat.radius)[clear])
            assert bool((threat.norm_of(found - images[rows]) <= threat.radius * (1 + 1e-5)).all())
    assert attack.n_iter == 40
    # Two passes a step and a few around them, towards each of three classes.
    assert asked[1] <= 3 * (2 * PROBE * 40 + 4) + 1 < asked[0] < 3 * (2 * 40 + 4)
