"""AR-AT against its authors' values, closed forms, and networks that see only one kind of image."""

import copy
import math

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import ARAT, Perturbed, Term, total
from toughen.methods.ar_at import Predictor, feature_distance, invariance
from toughen.models import (
    Classifier,
    Normalize,
    ResNet18,
    SmallCNN,
    SplitBatchNorm,
    branch,
    merge_batch_norms,
    split_batch_norms,
)
from toughen.threat import ThreatModel

FOUR = ["layer4.0.bn1", "layer4.0.bn2", "layer4.1.bn1", "layer4.1.bn2"]


def batch_of(n: int = 6, size: int = 16, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(n, 3, size, size, generator=generator), torch.randint(10, (n,), generator=generator))


def prepared(network: nn.Module | None = None, **settings: object) -> tuple[ARAT, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = {"attack": PGD(steps=2, mode="eval"), **settings}
        method = ARAT(**settings).under(ThreatModel("linf", 8 / 255), torch.Generator().manual_seed(0))
        model = method.prepare(ResNet18(width=4) if network is None else network).train()
    return method, model


def branch_parameters(model: nn.Module, name: str) -> list[nn.Parameter]:
    layers = [module for module in model.modules() if isinstance(module, SplitBatchNorm)]
    assert layers
    return [parameter for layer in layers for parameter in layer.get_submodule(name).parameters()]


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


# The loss


def reference_predictor(reference: dict) -> Predictor:
    predictor = Predictor(reference["clean"].shape[1]).double().train()
    weights = reference["predictor"]
    with torch.no_grad():
        predictor.linear1.weight.copy_(weights["linear1_weight"])
        predictor.linear2.weight.copy_(weights["linear2_weight"])
        predictor.linear2.bias.copy_(weights["linear2_bias"])
    return predictor


def test_invariance_is_the_authors(reference: dict) -> None:
    adversarial, clean = reference["adv"].requires_grad_(), reference["clean"].requires_grad_()
    expected = reference["expected"]["ar_at"]
    plain = invariance(adversarial, clean)
    predicted = invariance(adversarial, clean, reference_predictor(reference))
    assert plain.mean().item() == pytest.approx(expected["cosine_no_predictor"], abs=1e-6, rel=0)
    assert predicted.mean().item() == pytest.approx(expected["cosine_predictor_train_bn"], abs=1e-6, rel=0)
    for values in (plain, predicted):
        (gradient,) = torch.autograd.grad(values.sum(), adversarial, retain_graph=True)
        assert gradient.abs().sum() > 0
        assert torch.autograd.grad(values.sum(), clean, allow_unused=True) == (None,)


class Outputs(nn.Sequential):
    """A network whose logits are its images, so that the authors' logits can be its input."""

    def __init__(self, classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(classes, classes, bias=False, dtype=torch.float64))
        with torch.no_grad():
            self[1].weight.copy_(torch.eye(classes))


@pytest.mark.parametrize("a", [0.0, 0.35, 0.8])
def test_cross_entropies_are_balanced_as_the_authors(reference: dict, a: float) -> None:
    method = ARAT(balance=a, layers=["0"], split_bn=False, predictor=False, gamma=30.0)
    method.allocate_memory(1, (reference["clean"].shape[1], 1, 1))
    model = method.prepare(Outputs(reference["clean"].shape[1]))
    images = {name: reference[name][:, :, None, None] for name in ("clean", "adv")}
    terms = method.terms(model, Batch(images["clean"], reference["labels"]), Perturbed(images["adv"]))
    balanced = total({name: terms[name] for name in ("adversarial_ce", "clean_ce")})
    assert balanced.item() == pytest.approx(reference["expected"]["ar_at"][f"auto_balanced_ce_prev_acc_{a}"], abs=1e-6)
    cosine = F.cosine_similarity(reference["adv"].relu(), reference["clean"].relu(), dim=1)
    assert total(terms).item() == pytest.approx(balanced.item() + 30 * (1 - cosine.mean().item()), abs=1e-6)


def plain_distance(moving: list[float], target: list[float], distance: str) -> float:
    if distance == "mse":
        return sum((m - t) ** 2 for m, t in zip(moving, target, strict=True)) / len(moving)
    if distance == "cosine":
        dot = sum(m * t for m, t in zip(moving, target, strict=True))
        return 1 - dot / math.hypot(*moving) / math.hypot(*target)
    p, q = ([math.exp(v) / sum(map(math.exp, row)) for v in row] for row in (target, moving))
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("distance", ["cosine", "mse", "kl"])
def test_distances_by_plain_loops(distance: str) -> None:
    moving, target = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = feature_distance(moving, target, distance)
    expected = [plain_distance(m, t, distance) for m, t in zip(moving.tolist(), target.tolist(), strict=True)]
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(feature_distance(moving, moving, distance), torch.zeros(5, dtype=torch.float64))


@pytest.mark.parametrize("distance", ["cosine", "mse", "kl"])
@pytest.mark.parametrize("extreme", ["zero", "huge", "one_hot"])
def test_distances_of_extreme_features_are_finite(distance: str, extreme: str) -> None:
    moving = {"zero": torch.zeros(2, 4), "huge": torch.full((2, 4), 1e4), "one_hot": torch.eye(4)[:2]}[extreme]
    for target in (moving.clone(), torch.eye(4)[2:], torch.zeros(2, 4)):
        x = moving.clone().requires_grad_()
        values = feature_distance(x, target, distance)
        values.sum().backward()
        assert values.isfinite().all()
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("distance", ["cosine", "mse", "kl"])
@pytest.mark.parametrize("direction", ["to_clean", "to_adversarial", "both"])
def test_gradients_are_those_of_the_formula(distance: str, direction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 8, dtype=torch.float64, generator=generator, requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        predictor = Predictor(8).double()

    def loss(features: Tensor) -> Tensor:
        adversarial, clean = features
        settings = {"direction": direction, "distance": distance, "stop_gradient": False}
        return invariance(adversarial, clean, predictor, **settings)

    assert torch.autograd.gradcheck(loss, (features,))


def test_directions() -> None:
    adversarial, clean = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    predictor = Predictor(8)
    forth = invariance(adversarial, clean, predictor)
    back = invariance(adversarial, clean, predictor, direction="to_adversarial")
    torch.testing.assert_close(back, invariance(clean, adversarial, predictor))
    torch.testing.assert_close(invariance(adversarial, clean, predictor, direction="both"), (forth + back) / 2)
    assert not torch.allclose(forth, back)


def test_predictor_is_the_published_network() -> None:
    predictor, z = Predictor(32), torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    assert predictor.linear1.bias is None
    assert predictor.linear1.weight.shape == (8, 32)
    hidden = z @ predictor.linear1.weight.T
    normalised = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    expected = normalised.clamp_min(0) @ predictor.linear2.weight.T + predictor.linear2.bias
    torch.testing.assert_close(predictor(z), expected)


def test_a_single_image_passes_the_predictor_by_its_running_statistics() -> None:
    predictor = Predictor(16).train()
    predictor(torch.randn(9, 16, generator=torch.Generator().manual_seed(0)))
    before, image = statistics(predictor), torch.randn(1, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(predictor(image), copy.deepcopy(predictor).eval()(image))
    assert all(torch.equal(buffer, before[name]) for name, buffer in predictor.named_buffers())


# The method


def step(method: ARAT, model: nn.Module, batch: Batch) -> dict[str, Term]:
    return method.terms(model, batch, method.perturb(model, batch))


def test_terms_are_the_formula_on_two_ordinary_networks() -> None:
    """Each branch is replaced by a network of its own that sees only its images."""
    method, model = prepared(gamma=7.0, balance=0.25)
    alone = {name: copy.deepcopy(merge_batch_norms(model, name)).train() for name in ("clean", "adversarial")}
    predictors, batch = copy.deepcopy(method.predictors), batch_of()
    perturbed = method.perturb(model, batch)
    terms = method.terms(model, batch, perturbed)
    features: dict[str, list[Tensor]] = {"clean": [], "adversarial": []}
    for name, network in alone.items():
        for layer in FOUR:
            network.get_submodule(layer).register_forward_hook(
                lambda module, inputs, output, kept=features[name]: kept.append(F.relu(output).mean((2, 3)))
            )
    adversarial, clean = alone["adversarial"](perturbed.images), alone["clean"](batch.images)
    distances = [
        1 - F.cosine_similarity(h(z), target)
        for h, z, target in zip(predictors, features["adversarial"], features["clean"], strict=True)
    ]
    expected = (
        0.25 * F.cross_entropy(adversarial, batch.labels)
        + 0.75 * F.cross_entropy(clean, batch.labels)
        + 7.0 * torch.stack(distances).mean()
    )
    torch.testing.assert_close(total(terms), expected)
    assert method.names == FOUR
    for name, network in alone.items():  # the statistics moved as if each branch had been alone
        merged = merge_batch_norms(model, name)
        assert all(torch.equal(value, network.get_buffer(key)) for key, value in merged.named_buffers())


def test_an_attack_in_train_mode_moves_the_adversarial_statistics_only() -> None:
    method, model = prepared(attack=PGD(steps=2, mode="train"))
    before, batch = statistics(model), batch_of()
    method.perturb(model, batch)
    moved = {name for name, value in statistics(model).items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if ".adversarial." in name}


def test_the_attack_goes_through_the_adversarial_branch() -> None:
    method, model = prepared()
    with torch.no_grad():
        for parameter in branch_parameters(model, "clean"):
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    batch = batch_of()
    with branch(model, "clean"):  # whatever is chosen outside
        found = method.perturb(model, batch).images
    generator = torch.Generator().manual_seed(0)
    expected = method.attack(merge_batch_norms(model), batch.images, batch.labels, method.threat, generator)
    assert torch.equal(found, expected)


def test_balance_is_the_clean_branchs_accuracy_on_the_first_images() -> None:
    method, model = prepared()
    assert method.a.item() == 0.5
    with torch.no_grad():
        for parameter in branch_parameters(model, "clean"):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    images = batch_of(400).images
    with torch.no_grad():
        clean, adversarial = (merge_batch_norms(model, name).eval()(images) for name in ("clean", "adversarial"))
    labels = torch.where(torch.arange(400) < 300, clean.argmax(1), (clean.argmax(1) + 1) % 10)
    before = statistics(model)
    method.begin_epoch(model, 3, Batch(images, labels))
    assert method.a.item() == 0.75
    assert (adversarial.argmax(1) == labels).float().mean() != 0.75
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in statistics(model).items())
    terms = step(method, model, batch_of())
    assert [float(terms[name].weight) for name in ("adversarial_ce", "clean_ce", "invariance")] == [0.75, 0.25, 30.0]
    fixed, model = prepared(balance=0.3)
    fixed.begin_epoch(model, 0, Batch(images, labels))
    assert fixed.a.item() == pytest.approx(0.3)


def test_deployed_is_the_adversarial_branch() -> None:
    method, model = prepared()
    step(method, model, batch_of())
    deployed, images = method.inference_model(model), batch_of(seed=1).images
    assert list(deployed.state_dict()) == list(ResNet18(width=4).state_dict())
    assert torch.equal(deployed.eval()(images), model.eval()(images))
    with branch(model, "clean"):
        assert not torch.allclose(deployed(images), model(images))


# Ablations: what each switch changes, and that it changes nothing else


def invariance_gradients(**settings: object) -> dict[str, bool]:
    """Which side the invariance loss of a step has gradients into."""
    method, model = prepared(**settings)
    step(method, model, batch_of())["invariance"].values.sum().backward()
    assert model.get_parameter("conv1.weight").grad is not None
    sides = {name: branch_parameters(model, name) for name in ("clean", "adversarial")}
    return {name: any(p.grad is not None and p.grad.any() for p in side) for name, side in sides.items()}


@pytest.mark.parametrize("predictor", [True, False])
@pytest.mark.parametrize("distance", ["cosine", "mse", "kl"])
@pytest.mark.parametrize(
    ("settings", "clean", "adversarial"),
    [
        ({}, False, True),
        ({"stop_gradient": False}, True, True),
        ({"direction": "to_adversarial"}, True, False),
        ({"direction": "to_adversarial", "stop_gradient": False}, True, True),
        ({"direction": "both"}, True, True),
    ],
    ids=str,
)
def test_which_branch_the_invariance_loss_moves(
    settings: dict[str, object], clean: bool, adversarial: bool, distance: str, predictor: bool
) -> None:
    found = invariance_gradients(distance=distance, predictor=predictor, **settings)
    assert found == {"clean": clean, "adversarial": adversarial}


def test_with_both_directions_and_stopped_targets_each_side_moves_for_its_own_half_only() -> None:
    both, model = prepared(direction="both")
    step(both, model, batch_of())["invariance"].values.sum().backward()
    for direction, side in (("to_clean", "adversarial"), ("to_adversarial", "clean")):
        one, other = prepared(direction=direction)
        step(one, other, batch_of())["invariance"].values.sum().backward()
        for half, whole in zip(branch_parameters(other, side), branch_parameters(model, side), strict=True):
            torch.testing.assert_close(whole.grad, half.grad / 2)


@pytest.mark.parametrize(
    "settings",
    [{"stop_gradient": False}, {"predictor": False}, {"direction": "both"}, {"distance": "mse"}, {"gamma": 1.0}],
    ids=str,
)
def test_switches_leave_images_and_cross_entropies_alone(settings: dict[str, object]) -> None:
    (published, first), (ablated, second) = prepared(), prepared(**settings)
    batch = batch_of()
    images, others = published.perturb(first, batch).images, ablated.perturb(second, batch).images
    assert torch.equal(images, others)
    terms, changed = step(published, first, batch), step(ablated, second, batch)
    for name in ("adversarial_ce", "clean_ce"):
        assert torch.equal(terms[name].values, changed[name].values)
    weighted = [t["invariance"].weight * t["invariance"].values for t in (terms, changed)]
    stays = "stop_gradient" in settings  # it changes gradients only
    assert torch.equal(*weighted) == stays


def test_without_predictor_there_is_none() -> None:
    method, _ = prepared(predictor=False)
    assert list(method.parameters()) == []


def test_without_split_both_kinds_of_images_share_one_batch_norm() -> None:
    method, model = prepared(split_bn=False)
    assert not any(isinstance(module, SplitBatchNorm) for module in model.modules())
    assert method.inference_model(model) is model
    split, other = prepared()
    batch = batch_of()
    terms, published = step(method, model, batch), step(split, other, batch)
    # In train mode, and at the start, both compute the same: what differs is whose statistics and weights they are.
    for name, term in terms.items():
        torch.testing.assert_close(term.values, published[name].values)
    assert model.get_buffer("bn1.num_batches_tracked") == 2
    assert other.get_buffer("bn1.clean.num_batches_tracked") == 1


# Any network, any layers


@pytest.mark.parametrize(
    "make",
    [
        lambda: torchvision.models.resnet18(num_classes=10),
        lambda: timm.create_model("resnet18", num_classes=10),
        lambda: Classifier(Normalize([0.5] * 3, [0.2] * 3), torchvision.models.resnet18(num_classes=10)),
    ],
    ids=["torchvision", "timm", "classifier"],
)
def test_a_step_on_an_unchanged_resnet_of_another_library(make) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make()
    before = copy.deepcopy(network.state_dict())
    method, model = prepared(network, attack=PGD(steps=1, mode="train"))
    assert [name.removeprefix("network.") for name in method.names] == FOUR
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], lr=0.01)
    batch, losses = batch_of(4, size=64), []
    for _ in range(3):
        loss = method(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    deployed = method.inference_model(model)
    assert list(deployed.state_dict()) == list(before)
    assert type(deployed) is type(network)
    with torch.no_grad():
        network.load_state_dict(deployed.state_dict())
        assert torch.equal(network.eval()(batch.images), model.eval()(batch.images))


def test_layers_by_name() -> None:
    method, _ = prepared(layers=["layer2", "fc", "layer4.1.bn2", "fc"])
    assert method.names == ["layer2", "fc", "layer4.1.bn2"]
    assert [p.linear2.out_features for p in method.predictors] == [8, 10, 32]
    with pytest.raises(InputError, match=r"no layer 'layer4\.1\.bn3'; nearest first, it has layer4\.1\.bn"):
        prepared(layers=["layer4.1.bn3"])


def test_a_network_without_batch_norm() -> None:
    def network() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.GroupNorm(1, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
        )

    with pytest.raises(InputError, match="Sequential has no BatchNorm layer to split"):
        prepared(network(), layers=["1"])
    method, model = prepared(network(), layers=["1"], split_bn=False)
    assert total(step(method, model, batch_of())).isfinite()


def test_hooks_do_not_stay() -> None:
    method, model = prepared()
    batch = batch_of()
    step(method, model, batch)
    with pytest.raises(RuntimeError):
        method.terms(
            model, Batch(torch.rand(2, 5, 8, 8), torch.zeros(2, dtype=torch.int64)), method.perturb(model, batch)
        )
    assert not any(module._forward_hooks for module in model.modules())


def test_images_to_settle_on_are_adversarial_and_leave_no_trace() -> None:
    method, model = prepared(attack=PGD(steps=5, mode="eval"))
    deployed = method.inference_model(model).train()
    before, batch = statistics(model), batch_of()
    images = method.batchnorm_images(deployed, batch)
    method.threat.check(images, batch.images)
    assert all(torch.equal(value, before[name]) for name, value in statistics(model).items())
    with torch.no_grad():
        network = copy.deepcopy(deployed)
        losses = [F.cross_entropy(network(x), batch.labels) for x in (batch.images, images)]
    assert losses[1] > losses[0]
    # It does not matter that the running statistics are being estimated anew.
    again = prepared(attack=PGD(steps=5, mode="eval"))
    for module in again[1].modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.running_var.fill_(100.0)
    assert torch.equal(again[0].batchnorm_images(again[0].inference_model(again[1]).train(), batch), images)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": -1.0}, r"method\.gamma: .* at least 0, got -1"),
        ({"gamma": float("nan")}, r"method\.gamma"),
        ({"balance": 1.5}, r"method\.balance: .* from 0 to 1, got 1.5"),
        ({"layers": []}, r"method\.layers: expected at least one name"),
        (
            {"direction": "sideways"},
            r"method\.direction: expected one of to_clean, to_adversarial, both, got 'sideways'",
        ),
        ({"distance": "l2"}, r"method\.distance: expected one of cosine, mse, kl, got 'l2'"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ARAT(**settings)


def test_terms_before_prepare() -> None:
    batch = batch_of()
    with pytest.raises(InputError, match=r"model = method\.prepare\(model\)"):
        ARAT(attack=PGD(steps=1))(split_batch_norms(SmallCNN(width=4)), batch)
