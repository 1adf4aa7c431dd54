"""E-AT: which threat model a batch is attacked in, and that both are withstood at the cost of one."""

from collections import Counter

import pytest
import torch
from torch import nn

from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import EAT
from toughen.models import SmallCNN
from toughen.settings.description import describe
from toughen.threat import ThreatModel
from toughen.training.ramps import GrowingEps


def bound(**settings: object) -> tuple[EAT, nn.Module, Batch]:
    torch.manual_seed(0)
    method = EAT([ThreatModel("l1", 3.0), ThreatModel("l2", 0.5)], PGD(steps=2), **settings)
    method.under(ThreatModel("linf", 0.1), torch.Generator().manual_seed(0))
    images = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    return method, method.prepare(SmallCNN(5, 1, width=4)).train(), Batch(images, torch.arange(8) % 5)


def test_threat_models_are_drawn_in_proportion_to_what_is_broken_in_them() -> None:
    method, _, _ = bound()
    assert set(Counter(method.draw() for _ in range(60))) == {0, 1, 2}  # none is known yet: all alike
    method.right.copy_(torch.tensor([90.0, 50.0, 100.0]))
    method.seen.copy_(torch.tensor([100.0, 100.0, 100.0]))
    drawn = Counter(method.draw() for _ in range(3000))
    assert drawn[0] / 3000 == pytest.approx(1 / 6, abs=0.03)
    assert drawn[1] / 3000 == pytest.approx(5 / 6, abs=0.03)
    method.right.copy_(method.seen)  # all withstand: no weight is 0
    assert set(Counter(method.draw() for _ in range(60))) == {0, 1, 2}


def test_images_lie_in_the_drawn_ball_and_what_withstands_is_counted() -> None:
    method, model, batch = bound()
    for place, threat in enumerate(method.threats):
        method.draw = lambda place=place: place
        found = method.perturb(model, batch)
        threat.check(found.images, batch.images)
        assert method.seen[place] == 8
    with torch.no_grad():
        still = (model.eval()(found.images).argmax(1) == batch.labels).sum()
    assert still <= 8
    assert (method.right <= method.seen).all()


def test_an_image_that_comes_back_to_its_label_counts_as_broken() -> None:
    class Band(nn.Module):
        """Class 1 between 0.45 and 0.55, class 0 on both sides; the loss of label 0 grows towards the right."""

        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            x = images.flatten(1)[:, :1]
            z = torch.where((x - 0.5).abs() < 0.05, 1.0, -1.0).detach() + 0.01 * (x - 0.5) + 0 * self.unused
            return torch.cat([-z, z], 1)

    method = EAT(attack=PGD(steps=4, step_size=0.06, start="clean")).under(ThreatModel("linf", 0.3))
    method.draw = lambda: 0
    images = torch.tensor([0.42, 0.2, 0.7]).view(3, 1, 1, 1)
    found = method.perturb(Band(), Batch(images, torch.zeros(3, dtype=torch.int64)))
    assert found.images.flatten().tolist() == pytest.approx([0.66, 0.44, 0.94])
    assert method.right[0] == 2  # the first passed class 1 and is of class 0 again


def test_settings_are_described() -> None:
    others = describe(EAT([ThreatModel("l2", 0.5)]))["init_args"]["others"]
    assert others == [{"norm": "l2", "eps": 0.5}]
    with pytest.raises(InputError, match="several balls"):
        GrowingEps().check(EAT())
    with pytest.raises(InputError, match=r"method\.others"):
        EAT(["l1"])
