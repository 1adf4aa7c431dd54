"""The gradient attacks of the analyses."""

import logging
import warnings

import pytest
import torch
from torch import nn

from toughen.attacks import PGD
from toughen.attacks.apgd import APGD
from toughen.attacks.budgets import search
from toughen.models.inference import frozen
from toughen.threat import ThreatModel


def test_in_l1_apgd_breaks_more_than_pgd(network, images) -> None:
    """Why it is there: the same number of passes, a fraction of the images left."""
    threat, generator = ThreatModel("l1", 2), torch.Generator().manual_seed(0)
    pictures, labels = images.subset(torch.arange(60))
    with frozen(network, "cpu") as model:
        ours = search("l1", 20, 1).attack.run(model, pictures, labels, threat, generator).adversarial
        plain = PGD(40, keep_best=True, loss="margin")(model, pictures, labels, threat, generator)
        held = [int((model(found).argmax(1) == labels).sum()) for found in (ours, plain)]
    assert held[0] < held[1] / 2
    assert threat.contains(ours, pictures).all()
    assert not ours.requires_grad


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes(few_classes, classes: int) -> None:
    """DLR needs three classes: with two there is none."""
    network, pictures, labels = few_classes(classes)
    attack = APGD(10, 1)
    with frozen(network, "cpu") as model:
        found = attack.run(model, pictures, labels, ThreatModel("l1", 8), torch.Generator().manual_seed(0)).adversarial
        assert (model(found).argmax(1) != labels).any()


def test_images_without_a_gradient_are_no_matter_of_warnings(caplog: pytest.LogCaptureFixture) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).requires_grad_(False).eval()
    nn.init.zeros_(flat[1].weight)
    pictures, labels = torch.full((2, 1, 2, 2), 0.5), flat(torch.zeros(2, 1, 2, 2)).argmax(1)
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        found = APGD(3, 1).run(flat, pictures, labels, ThreatModel("l1", 1), torch.Generator()).adversarial
    assert torch.equal(found, pictures)
    assert caplog.records == []
