"""Attacks of one's own: how they are called, what they may return, and what their columns are called."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from foolbox import PyTorchModel
from foolbox.attacks import LinfPGD
from torch import Tensor, nn

from toughen import evaluate
from toughen.attacks import EOT, FGSM, PGD, Square
from toughen.attacks.base import CalledAttack, own_attacks
from toughen.errors import InputError
from toughen.threat import ThreatModel

EPS = 0.1
SETTINGS: dict[str, Any] = {"eps": EPS, "budget": "none", "checks": False, "device": "cpu"}


def plain_pgd(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """PGD from the clean image, one image at a time."""
    found = []
    for image, label in zip(images, labels, strict=True):
        x = image.clone()
        for _ in range(5):
            x = x.detach().requires_grad_()
            slope = torch.autograd.grad(F.cross_entropy(model(x[None]), label[None]), x)[0]
            x = (x.detach() + EPS / 4 * slope.sign()).clamp(image - EPS, image + EPS).clamp(0, 1)
        found.append(x)
    return torch.stack(found)


def foolbox_pgd(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    attack = LinfPGD(steps=5, rel_stepsize=0.25, random_start=False)
    return attack(PyTorchModel(model, (0, 1)), images, labels, epsilons=EPS)[1]


@pytest.mark.parametrize("theirs", [plain_pgd, foolbox_pgd])
def test_pgd_of_others_gives_the_verdicts_of_ours(robust_network, images, theirs):
    x, y = images.subset(torch.arange(60))
    ours = PGD(steps=5, step_size=EPS / 4, start="clean")
    found = evaluate(robust_network, x, y, attacks={"ours": ours, "theirs": theirs}, **SETTINGS)
    table = found.verdicts.table
    assert table["ours"].to_pylist() == table["theirs"].to_pylist()
    assert 0.2 < found.accuracies["theirs"] < found.clean_accuracy


def test_threat_and_generator_are_given_where_they_are_asked_for(network, batch):
    asked = []

    def five(model, images, labels, threat, generator):
        asked.append((threat, generator.initial_seed()))
        return images

    def three(model, images, labels, steps=5, size=0.1):
        asked.append((steps, size))
        return images

    given = ThreatModel("l2", 0.5), torch.Generator().manual_seed(7)
    CalledAttack(five)(network, *batch, *given)
    CalledAttack(three)(network, *batch, *given)
    assert asked == [(given[0], 7), (5, 0.1)]


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (
            lambda model, images, labels: images + 0.2,
            r"attack_1: .* images leave the threat model linf 0.1: largest norm 0.2",
        ),
        (lambda model, images, labels: images.add_(0.2), r"attack_1: .* images leave the threat model"),
        (lambda model, images, labels: images[:1], r"attacks: expected images of shape \(8, 1, 8, 8\) .* got \(1, 1,"),
        (lambda model, images, labels: None, r"attacks: expected images of shape .* got NoneType"),
    ],
)
def test_images_outside_the_ball_or_of_another_shape_are_refused(network, images, attack, message):
    with pytest.raises(InputError, match=message):
        evaluate(network, *images.subset(torch.arange(8)), attacks=[attack], **SETTINGS)


def test_a_model_left_in_train_mode_is_judged_in_eval_mode(network, images):
    def careless(model, images, labels):
        model.train()
        model(images)
        return images

    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = evaluate(network, *images.subset(torch.arange(30)), attacks=[careless], **SETTINGS)
    assert found.accuracies["careless"] == found.clean_accuracy
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        ([PGD], r"attacks: expected what can be called as \(model, images, labels\), got <class"),
        ([PGD(), PGD(steps=5)], r"'pgd' is no name of a column, or is there twice; write attacks=\{'name'"),
        ({"clean": PGD()}, "'clean' is a name of an evaluation's own .as are audit, further_spsa, further_square"),
        ({"audit": PGD()}, "'audit' is a name of an evaluation's own"),
        ({"further_square": PGD()}, "'further_square' is a name of an evaluation's own"),
        ({"further_spsa": PGD()}, "'further_spsa' is a name of an evaluation's own"),
        ({1: PGD()}, "1 is no name of a column"),
        (PGD(), r"attacks: expected a list of attacks, or a dict by name, got PGD; write attacks=\["),
    ],
)
def test_what_is_no_list_of_attacks_is_refused(attacks, message):
    with pytest.raises(InputError, match=message):
        own_attacks(attacks)


@pytest.mark.parametrize(
    "attack", [FGSM(), PGD(steps=3), Square(20), EOT(PGD(steps=2), 2)], ids=lambda a: type(a).__name__
)
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.5)])
def test_attacks_are_called_alike_and_stay_in_the_ball(network, batch, attack, norm, eps):
    found = attack(network, *batch, eps=eps, norm=norm)
    order = {"linf": float("inf"), "l2": 2}[norm]
    assert (found - batch[0]).flatten(1).norm(order, dim=1).max() <= eps * (1 + 1e-5)
    assert 0 <= found.min() <= found.max() <= 1
    with pytest.raises(InputError, match="expected a ThreatModel, got str 'linf'"):
        attack(network, *batch, "linf")
