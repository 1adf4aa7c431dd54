"""MALT's order against the distances of a linear model, and what it finds against AutoAttack."""

import pytest
import torch
from torch import nn

from toughen.attacks import MALT, PGD, AutoAttack
from toughen.attacks.malt import nearest_classes
from toughen.models.inference import classes_of, frozen
from toughen.threat import ThreatModel


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_the_nearest_class_of_a_linear_model_is_that_of_the_closed_form(norm, dual: int) -> None:
    """The hyperplane where class k meets the label's lies at `|z_k - z_y| / ||w_k - w_y||` in the dual norm."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 12, generator=generator) * torch.tensor([1, 1, 0.1, 3, 1, 0.3])[:, None]
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 6, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(weight)
    images = torch.rand(5, 3, 2, 2, generator=generator)
    labels = model(images).argmax(1)
    order = nearest_classes(model, images, labels, ThreatModel(norm, 0.1), 20)
    for image, label, found in zip(images, labels.tolist(), order.tolist(), strict=True):
        logits = weight @ image.flatten()
        distance = {
            k: float((logits[label] - logits[k]) / torch.linalg.vector_norm(weight[k] - weight[label], ord=dual))
            for k in range(6)
            if k != label
        }
        assert found == sorted(distance, key=lambda k: distance[k])


@pytest.mark.nightly
def test_it_finds_nearly_all_that_autoattack_does(robust_network, images) -> None:
    threat, (pictures, labels) = ThreatModel("linf", 0.15), images.subset(torch.arange(60))
    with frozen(robust_network, "cpu") as model:
        ours = MALT().run(model, pictures, labels, threat, torch.Generator().manual_seed(0)).adversarial
        theirs = AutoAttack().run(model, pictures, labels, threat, torch.Generator().manual_seed(0)).held
        held = classes_of(model, ours) == labels
    assert threat.contains(ours, pictures).all()
    assert theirs is not None and 0 < int(theirs.sum()) < 60
    assert int(held.sum()) <= int(theirs.sum()) + 1


def test_it_breaks_what_pgd_on_the_margin_leaves(robust_network, images) -> None:
    threat, (pictures, labels) = ThreatModel("linf", 0.15), images.subset(torch.arange(200))
    with frozen(robust_network, "cpu") as model:
        held = [
            classes_of(model, attack.run(model, pictures, labels, threat, torch.Generator().manual_seed(0)).adversarial)
            == labels
            for attack in (PGD(20, keep_best=True, loss="margin"), MALT())
        ]
    assert int((held[0] & ~held[1]).sum()) > int((held[1] & ~held[0]).sum())


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_and_other_norms(few_classes, norm, classes: int) -> None:
    network, pictures, labels = few_classes(classes)
    threat = ThreatModel(norm, {"l2": 2.0, "l1": 8.0}[norm])
    with frozen(network, "cpu") as model:
        found = MALT(steps=10).run(model, pictures, labels, threat, torch.Generator().manual_seed(0)).adversarial
        assert (classes_of(model, found) != labels).any()
    assert threat.contains(found, pictures).all()
