"""LBGAT: the formula, who learns from which term, and the guide's place beside the model."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import LBGAT, Guide, total
from toughen.methods.lbgat import lbgat_terms
from toughen.methods.method import Perturbed
from toughen.models import ResNet18, SmallCNN
from toughen.threat import ThreatModel
from toughen.training import SGD
from toughen.training.optimizer import parameter_groups


def networks(**settings: object) -> tuple[LBGAT, nn.Module]:
    torch.manual_seed(0)
    method = LBGAT(attack=GradientAttack(steps=1), **settings).under(ThreatModel("linf", 0.1))
    return method, method.prepare(SmallCNN(5, 1, width=4)).train()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(torch.rand(6, 1, 6, 6, generator=generator), torch.tensor([0, 1, 2, 3, 4, 0]))


def moved(images: torch.Tensor) -> Perturbed:
    return Perturbed((images + 0.1 * images.flip(3)).clamp(0, 1))


def gradients(loss: torch.Tensor, *modules: nn.Module) -> list[list[torch.Tensor]]:
    """The gradient of a loss in each module's parameters; zero where there is none."""
    found = []
    for module in modules:
        parameters = list(module.parameters())
        grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        found.append([torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)])
    return found


def test_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    adversarial, clean, guide = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    terms = lbgat_terms(adversarial, clean, guide, labels, beta=6.0)
    divergence = F.kl_div(adversarial.log_softmax(1), clean.softmax(1), reduction="batchmean")
    expected = F.mse_loss(adversarial, guide) + F.cross_entropy(guide, labels) + 6.0 * divergence
    torch.testing.assert_close(total(terms), expected)


def test_logit_mse_is_the_published_one(reference: dict) -> None:
    """D2R's code has the same term between the trained network's adversarial and the guide's clean logits."""
    terms = lbgat_terms(reference["adv"], reference["clean"], reference["guide"], reference["labels"], 6.0)
    expected = reference["expected"]
    assert terms["logit_mse"].values.mean().item() == pytest.approx(expected["d2r"]["mse_adv_guide"], abs=1e-6)
    assert terms["guide_ce"].values.mean().item() == pytest.approx(expected["d2r"]["ce_guide_clean"], abs=1e-6)
    assert terms["robust_kl"].values.mean().item() == pytest.approx(expected["trades"]["robust_kl"], abs=1e-6)


def test_formula_gradients() -> None:
    logits = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    labels = torch.tensor([0, 1, 2])
    assert torch.autograd.gradcheck(lambda a, b, c: total(lbgat_terms(a, b, c, labels, 6.0)), logits)


def test_huge_and_equal_logits_are_finite() -> None:
    clean = (1e4 * torch.eye(3)).requires_grad_(True)
    for other in (1e4 * torch.eye(3).roll(1, 0), clean):
        loss = total(lbgat_terms(other, clean, other, torch.arange(3), 6.0))
        assert loss.isfinite()
        assert torch.autograd.grad(loss, clean)[0].isfinite().all()


def test_who_learns_from_which_term() -> None:
    method, model = networks(beta=6.0)
    guide = method.guide_network
    assert guide is not None
    terms = method.terms(model, batch(), moved(batch().images))
    learns = {
        name: [any(g.any() for g in grads) for grads in gradients(term.values.mean(), model, guide)]
        for name, term in terms.items()
    }
    # The labels reach the guide only; the trained network has them through the guide's logits.
    assert learns == {"guide_ce": [False, True], "logit_mse": [True, True], "robust_kl": [True, False]}


def test_beta_zero_takes_the_kl_out_and_nothing_else() -> None:
    method, model = networks(beta=0.0)
    other, same = networks(beta=6.0)
    perturbed = moved(batch().images)
    terms, full = (m.terms(f, batch(), perturbed) for m, f in ((method, model), (other, same)))
    for name in terms:
        torch.testing.assert_close(terms[name].values, full[name].values)
    wanted = gradients(full["logit_mse"].values.mean() + full["guide_ce"].values.mean(), same, other)
    found = gradients(total(terms), model, method)
    for expected, came in zip(wanted, found, strict=True):
        for one, two in zip(expected, came, strict=True):
            torch.testing.assert_close(one, two)
    # Clean images take part in BatchNorm's statistics either way.
    for one, two in zip(model.buffers(), same.buffers(), strict=True):
        torch.testing.assert_close(one, two)
    assert model.features[1].num_batches_tracked == 2


def test_both_networks_learn_in_one_optimiser_and_only_the_target_is_deployed() -> None:
    method, model = networks(beta=6.0)
    guide = method.guide_network
    assert guide is not None
    before = [p.clone() for module in (model, guide) for p in module.parameters()]
    optimizer = SGD(parameter_groups(model, method), lr=0.1)
    method(model, batch()).backward()
    optimizer.step()
    after = [p for module in (model, guide) for p in module.parameters()]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert method.inference_model(model) is model
    assert set(method.state_dict()) == {f"guide_network.{name}" for name in guide.state_dict()}


def test_the_guide_is_its_own_network_of_the_chosen_kind_and_may_be_kept() -> None:
    method, model = networks()
    assert method.auxiliary_networks() == {}
    assert method.guide_network is not model
    method, model = networks(guide=Guide("resnet18", {"width": 4}), save_guide=True)
    (kept,) = method.auxiliary_networks().values()
    assert kept is method.guide_network
    assert any(isinstance(module, ResNet18) for module in kept.modules())


def test_bad_settings_and_a_missing_guide() -> None:
    with pytest.raises(InputError, match=r"method\.beta: expected a weight of at least 0, got -1"):
        LBGAT(beta=-1)
    with pytest.raises(InputError, match=r"method\.inner"):
        LBGAT(inner="js")
    with pytest.raises(InputError, match=r"method\.prepare\(model\)"):
        LBGAT().terms(SmallCNN(5, 1), batch(), moved(batch().images))
