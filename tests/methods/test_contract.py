"""What every method promises to the training loop, whatever it does inside."""

import copy
from pathlib import Path

import pytest
import torch
from cases import CASES, Case
from torch import nn

from toughen import catalog
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import ARAT, Method, total
from toughen.models import SmallCNN
from toughen.settings.description import describe
from toughen.settings.stored import stored_object
from toughen.settings.trust import trusting
from toughen.threat import ThreatModel

THREATS = [ThreatModel("linf", 8 / 255), ThreatModel("l2", 0.5), ThreatModel("l1", 2.0)]
ROWS = [pytest.param(case, id=f"{name}-{i}") for name, rows in CASES.items() for i, case in enumerate(rows)]


def test_every_method_has_a_case() -> None:
    assert set(CASES) == set(catalog.classes("methods"))


def batch_of(n: int = 8, classes: int = 10, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 1, 8, 8, generator=generator)
    labels = torch.randint(classes, (n,), generator=generator)
    return Batch(images, labels, torch.arange(n), views=(images.flip(2), images.flip(3)))


def bound(case: Case, threat: ThreatModel = THREATS[0], classes: int = 10) -> tuple[Method, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = case.make().under(threat, torch.Generator().manual_seed(0))
        method.allocate_memory(8, (1, 8, 8))
        model = method.prepare(SmallCNN(classes, 1, width=8))
    return method, model.train()


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_perturbation_stays_in_the_threat_model(case: Case, threat: ThreatModel) -> None:
    method, model = bound(case, threat)
    batch = batch_of()
    perturbed = method.perturb(model, batch)
    allowed = [each.scaled(case.reach).contains(perturbed.images, batch.images) for each in method.threats]
    assert method.threats[0] == threat
    assert torch.stack(allowed).any(dim=0).all()
    assert not perturbed.images.requires_grad
    assert torch.equal(perturbed.images, batch.images) != case.perturbs


def with_group_norm(model: nn.Module) -> nn.Module:
    for parent in [*model.modules()]:
        for name, layer in parent.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                setattr(parent, name, nn.GroupNorm(1, layer.num_features))
    return model


@pytest.mark.parametrize("case", ROWS)
def test_a_network_without_batch_norm_is_trained_or_refused_at_once(case: Case) -> None:
    method = case.make().under(THREATS[0], torch.Generator().manual_seed(0))
    method.allocate_memory(8, (1, 8, 8))
    network = with_group_norm(SmallCNN(10, 1, width=8))
    # AR-AT's layers are BatchNorms by default.
    if getattr(method, "split_bn", False) or (isinstance(method, ARAT) and method.layers is None):
        with pytest.raises(InputError, match="has no BatchNorm"):
            method.prepare(network)
        return
    model, batch = method.prepare(network).train(), batch_of()
    total(method.terms(model, batch, method.perturb(model, batch))).backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in model.parameters())


@pytest.mark.parametrize("case", ROWS)
def test_perturbing_leaves_the_model_as_it_was(case: Case) -> None:
    method, model = bound(case)
    before = snapshot(model)
    method.perturb(model, batch_of())
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert bool(moved) == case.attacks_in_train_mode
    assert moved <= {name for name, _ in model.named_buffers()}


@pytest.mark.parametrize("case", ROWS)
def test_terms_are_named_per_image_and_differentiable(case: Case) -> None:
    method, model = bound(case)
    batch = batch_of()
    terms = method.terms(model, batch, method.perturb(model, batch))
    assert tuple(terms) == case.terms
    assert all(term.values.shape in ((len(batch),), ()) for term in terms.values())
    loss = total(terms)
    assert loss.item() == pytest.approx(sum(float(t.weight) * t.values.mean().item() for t in terms.values()), rel=1e-5)
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("case", ROWS)
def test_steps_lower_the_loss_on_a_fixed_batch(case: Case) -> None:
    method, model = bound(case)
    batch = batch_of()
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=0.02)
    losses = []
    for _ in range(6):
        loss = method(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("n", [1, 5])
def test_any_number_of_classes_and_a_last_batch_of_one_image(case: Case, classes: int, n: int) -> None:
    method, model = bound(case, classes=classes)
    loss = method(model, batch_of(n, classes))
    assert loss.isfinite()


@pytest.mark.parametrize("case", ROWS)
def test_half_precision_networks_give_finite_fp32_terms(case: Case) -> None:
    method, model = bound(case)
    batch = batch_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = method.terms(model, batch, method.perturb(model, batch))
    assert all(term.values.dtype == torch.float32 and term.values.isfinite().all() for term in terms.values())


@pytest.mark.parametrize("case", ROWS)
def test_same_generator_same_loss(case: Case) -> None:
    losses = []
    for _ in range(2):
        method, model = bound(case)
        losses.append(method(model, batch_of()).item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("case", ROWS)
def test_state_survives_saving_and_settings_survive_describing(case: Case) -> None:
    method, model = bound(case)
    method(model, batch_of())
    other, _ = bound(case)  # a second run, resumed: its parts are made, its values are not
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(method.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(method.state_dict().values(), other.state_dict().values(), strict=True)
    )
    described = describe(method)
    with trusting(["cases"]):
        again = stored_object({"method": copy.deepcopy(described)}, "method", Method, Path("config.yaml"))
    assert describe(again) == described


@pytest.mark.parametrize("case", ROWS)
def test_a_method_can_be_copied_before_it_is_bound(case: Case) -> None:
    assert describe(copy.deepcopy(case.make())) == describe(case.make())


@pytest.mark.parametrize("name", list(CASES))
def test_summary_and_signature_are_documented(name: str) -> None:
    entry = catalog.classes("methods")[name]
    assert len(entry.summary) > 20
