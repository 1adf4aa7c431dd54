"""D2R: terms against the authors' values and plain loops, attack against theirs, and what each setting changes."""

import math
from pathlib import Path

import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from stopping import StopAt
from torch import Tensor, nn

from toughen import train
from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.data import Digits
from toughen.errors import InputError
from toughen.evaluation import load_model
from toughen.methods import D2R, Perturbed, total
from toughen.methods.d2r import divergence, function_between
from toughen.methods.guide import Guide
from toughen.models import SmallCNN
from toughen.threat import ThreatModel
from toughen.training import SGD, Interrupted
from toughen.training.checkpoint import load_state
from toughen.training.optimizer import parameter_groups

FUNCTIONS = ["kl", "reverse_kl", "gap", "js", "mse"]
PUBLISHED = {"log_offset": 1e-5}


def near(expected: float) -> object:
    return pytest.approx(expected, abs=1e-6, rel=0)


class Answers(nn.Module):
    """Gives known logits: one answer to images of zeros (clean), another to images of ones (adversarial)."""

    def __init__(self, clean: Tensor, adversarial: Tensor) -> None:
        super().__init__()
        self.clean, self.adversarial = nn.Parameter(clean.clone()), nn.Parameter(adversarial.clone())

    def forward(self, images: Tensor) -> Tensor:
        return self.adversarial if images.max() > 0 else self.clean


def answered(reference: dict, method: D2R, soft: Tensor | None = None) -> tuple[D2R, Answers, dict]:
    """The method's terms where the networks' outputs are the reference's."""
    model = Answers(reference["clean"], reference["adv"])
    method.guide_network = Answers(reference["guide"], reference["guide"])
    labels = reference["labels"]
    clean, adversarial = torch.zeros(len(labels), 1, 1, 1), torch.ones(len(labels), 1, 1, 1)
    return method, model, method.terms(model, Batch(clean, labels, soft=soft), Perturbed(adversarial))


def test_published_form_agrees_with_the_authors_code(reference: dict) -> None:
    expected = reference["expected"]["d2r"]
    clean, adversarial, guide = reference["clean"], reference["adv"], reference["guide"]
    assert function_between("kl", clean, guide, **PUBLISHED).mean() == near(expected["kl_clean_to_guide_mean"])
    assert function_between("reverse_kl", clean, guide, **PUBLISHED).mean() == near(expected["kl_guide_to_clean_mean"])
    assert function_between("kl", adversarial, guide, **PUBLISHED).mean() == near(expected["kl_adv_to_guide_mean"])
    assert function_between("gap", clean, guide, **PUBLISHED) == near(expected["abs_clean_gap"])
    _, _, terms = answered(reference, D2R(**PUBLISHED))
    assert {name: term.values.mean().item() for name, term in terms.items()} == {
        "guide_ce": near(expected["ce_guide_clean"]),
        "logit_mse": near(expected["mse_adv_guide"]),
        "clean": near(expected["abs_clean_gap"]),
        "adversarial": near(expected["kl_adv_to_guide_mean"]),
    }
    assert [term.weight for term in terms.values()] == [1, 1, 20, 30]
    assert total(terms).item() == near(expected["total_with_weights_mse1_clean20_adv30"])


def test_default_form_differs_from_the_published_one_by_no_more_than_stated(reference: dict) -> None:
    for other in ("clean", "adv"):
        for function in ("kl", "reverse_kl"):
            raised = function_between(function, reference[other], reference["guide"], **PUBLISHED)
            raised = raised - function_between(function, reference[other], reference["guide"])
            assert (raised > 0).all()
            assert (raised <= 1e-5).all()
    published = reference["expected"]["d2r"]["total_with_weights_mse1_clean20_adv30"]
    difference = published - total(answered(reference, D2R())[2]).item()
    assert 0 < abs(difference) <= (20 + 30) * 1e-5


def softmax(row: list[float]) -> list[float]:
    largest = max(row)
    exponentials = [math.exp(z - largest) for z in row]
    return [e / sum(exponentials) for e in exponentials]


def plain_kl(p: list[float], q: list[float], offset: float) -> float:
    return sum(a * (math.log(a + offset) - math.log(b)) for a, b in zip(p, q, strict=True))


def plain(function: str, target: Tensor, guide: Tensor, over_classes: str, offset: float) -> float:
    """The batch mean of a function, row by row and class by class."""
    n, k = target.shape
    forward = backward = js = mse = 0.0
    for f, g in zip(target.tolist(), guide.tolist(), strict=True):
        p, q = softmax(f), softmax(g)
        middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        forward += plain_kl(p, q, offset) / n
        backward += plain_kl(q, p, offset) / n
        js += (plain_kl(p, middle, offset) + plain_kl(q, middle, offset)) / 2 / n
        mse += sum((a - b) ** 2 for a, b in zip(f, g, strict=True)) / k / n
    values = {"kl": forward, "reverse_kl": backward, "gap": abs(forward - backward), "js": js}
    scale = k if over_classes == "mean" else 1
    return mse if function == "mse" else values[function] / scale


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("over_classes", ["mean", "sum"])
@pytest.mark.parametrize("offset", [0.0, 1e-5, 0.1])
def test_functions_against_plain_loops(reference: dict, function: str, over_classes: str, offset: float) -> None:
    values = function_between(function, reference["clean"], reference["guide"], over_classes, offset)
    assert values.shape == (() if function == "gap" else (len(reference["clean"]),))
    expected = plain(function, reference["clean"], reference["guide"], over_classes, offset)
    assert values.mean().item() == pytest.approx(expected, rel=1e-9)


def test_functions_against_scipy(reference: dict) -> None:
    target, guide = reference["clean"], reference["guide"]
    p, q = target.softmax(1).numpy(), guide.softmax(1).numpy()

    def ours(function: str) -> list[float]:
        return function_between(function, target, guide, over_classes="sum").tolist()

    assert ours("kl") == pytest.approx(entropy(p, q, axis=1))
    assert ours("reverse_kl") == pytest.approx(entropy(q, p, axis=1))
    assert ours("js") == pytest.approx(jensenshannon(p, q, axis=1) ** 2)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("offset", [0.0, 1e-5])
def test_gradients(reference: dict, function: str, offset: float) -> None:
    target = reference["clean"].clone().requires_grad_()
    guide = reference["guide"].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f, g: function_between(function, f, g, log_offset=offset), (target, guide))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("offset", [0.0, 1e-5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_for_huge_one_hot_and_equal_outputs(function: str, offset: float, dtype: torch.dtype) -> None:
    huge = torch.eye(3) * 1e4
    for first, second in ((huge, -huge), (huge, huge.clone()), (huge, torch.zeros(3, 3)), (torch.zeros(3, 3), huge)):
        target = first.to(dtype).requires_grad_()
        guide = second.to(dtype).requires_grad_()
        values = function_between(function, target, guide, log_offset=offset)
        values.mean().backward()
        assert values.dtype == torch.float32
        assert values.isfinite().all()
        assert target.grad.isfinite().all()
        assert guide.grad.isfinite().all()
    equal = function_between(function, huge, huge)
    assert (equal == 0).all()


def test_divergence_is_not_negative_and_zero_only_for_equal_outputs(reference: dict) -> None:
    assert (divergence(reference["clean"], reference["guide"]) > 0).all()
    assert divergence(reference["clean"], reference["clean"] + 3.0).abs().max() < 1e-12


def gradients(reference: dict, name: str, method: D2R) -> tuple[Tensor, Tensor, Tensor]:
    """Of one term: with respect to f's clean, f's adversarial and g's clean logits."""
    method, model, terms = answered(reference, method)
    (terms[name].weight * terms[name].values.mean()).backward()
    return tuple(
        torch.zeros_like(p) if p.grad is None else p.grad
        for p in (model.clean, model.adversarial, method.guide_network.clean)
    )


@pytest.mark.parametrize(
    ("name", "reached"),
    [
        ("guide_ce", (False, False, True)),
        ("logit_mse", (False, True, True)),
        ("clean", (True, False, True)),
        ("adversarial", (False, True, True)),
    ],
)
def test_which_outputs_each_term_reaches(reference: dict, name: str, reached: tuple[bool, ...]) -> None:
    assert tuple(bool(g.any()) for g in gradients(reference, name, D2R())) == reached


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"mse_weight": 0.0}, {"logit_mse"}),
        ({"clean_weight": 5.0}, {"clean"}),
        ({"clean": "js"}, {"clean"}),
        ({"adversarial_weight": 5.0}, {"adversarial"}),
        ({"adversarial": "reverse_kl"}, {"adversarial"}),
        ({"over_classes": "sum"}, {"clean", "adversarial"}),
        ({"log_offset": 1e-5}, {"clean", "adversarial"}),
        ({"gradient": "guide"}, set()),
        ({"gradient": "mixture", "guide_share": 0.9}, set()),
        ({"save_guide": True}, set()),
    ],
    ids=lambda value: "+".join(sorted(map(str, value))),  # a set has no order of its own: xdist needs one
)
def test_a_setting_changes_the_gradients_of_its_term_and_of_no_other(
    reference: dict, settings: dict, changed: set[str]
) -> None:
    different = set()
    for name in ("guide_ce", "logit_mse", "clean", "adversarial"):
        before, after = gradients(reference, name, D2R()), gradients(reference, name, D2R(**settings))
        if not all(torch.equal(a, b) for a, b in zip(before, after, strict=True)):
            different.add(name)
    assert different == changed


def test_the_sum_over_classes_is_the_mean_times_their_number(reference: dict) -> None:
    classes = reference["clean"].shape[1]
    mean, summed = answered(reference, D2R())[2], answered(reference, D2R(over_classes="sum"))[2]
    for name in ("clean", "adversarial"):
        torch.testing.assert_close(summed[name].values, classes * mean[name].values)


def test_soft_labels_are_the_guides_only(reference: dict) -> None:
    classes = reference["clean"].shape[1]
    soft = torch.full((len(reference["labels"]), classes), 1 / classes, dtype=torch.float64)
    hard, softened = answered(reference, D2R())[2], answered(reference, D2R(), soft)[2]
    assert {name for name in hard if not torch.equal(hard[name].values, softened[name].values)} == {"guide_ce"}
    expected = -torch.log_softmax(reference["guide"], 1).mean(1)
    torch.testing.assert_close(softened["guide_ce"].values, expected)


THREAT = ThreatModel("linf", 0.031)


def networks(**settings: object) -> tuple[D2R, nn.Module, Batch]:
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallCNN(10, 1, width=4)
        method = D2R(attack=GradientAttack(steps=4, step_size=0.007, start="normal"), **settings)
        method.prepare(model)
        # Statistics of a real batch, so that eval mode is not train mode.
        for network in (model, method.guide_network):
            network.double()(torch.rand(16, 1, 8, 8, generator=generator, dtype=torch.float64))
    # In fp64, so that the sign of a tiny gradient is not a matter of rounding.
    batch = Batch(torch.rand(6, 1, 8, 8, generator=generator, dtype=torch.float64), torch.arange(6))
    return method.under(THREAT, torch.Generator().manual_seed(7)), model, batch


def published_attack(model: nn.Module, guide: nn.Module, images: Tensor, share: float) -> Tensor:
    """The authors' loop with the default generator's noise; `share` of the objective is the guide's own."""
    model.eval()
    guide.eval()
    noise = torch.empty_like(images).normal_(generator=torch.Generator().manual_seed(7))
    x = images + 0.001 * noise
    p = guide(images).softmax(1).detach()
    for _ in range(4):
        x = x.detach().requires_grad_()
        loss = 0
        for network, weight in ((model, 1 - share), (guide, share)):
            log_q = torch.log_softmax(network(x), 1)
            loss = loss + weight * (p * torch.log(p + 1e-5) - p * log_q).sum()
        (gradient,) = torch.autograd.grad(loss, x)
        x = x.detach() + 0.007 * gradient.sign()
        x = torch.min(torch.max(x, images - 0.031), images + 0.031).clamp(0, 1)
    model.train()
    guide.train()
    return x.detach()


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ({}, 0.0),
        ({"gradient": "guide"}, 1.0),
        ({"gradient": "mixture"}, 0.5),
        ({"gradient": "mixture", "guide_share": 0.8}, 0.8),
        ({"gradient": "mixture", "guide_share": 0.0}, 0.0),
        ({"gradient": "mixture", "guide_share": 1.0}, 1.0),
    ],
    ids=str,
)
def test_collaborative_generation_is_the_published_loop(settings: dict, share: float) -> None:
    method, model, batch = networks(**settings)
    images = method.perturb(model, batch).images
    torch.testing.assert_close(images, published_attack(model, method.guide_network, batch.images, share))
    other = published_attack(model, method.guide_network, batch.images, 1.0 - share if share != 0.5 else 0.0)
    assert (images - other).abs().max() > 0.01


def test_without_collaboration_the_attack_is_the_trained_networks_own() -> None:
    method, model, batch = networks(collaborative=False)
    images = method.perturb(model, batch).images
    torch.testing.assert_close(images, published_attack(model, model, batch.images, 0.0))
    with torch.no_grad():
        for parameter in method.guide_network.parameters():
            parameter.add_(1)
    method.generator.manual_seed(7)
    torch.testing.assert_close(method.perturb(model, batch).images, images)
    with pytest.raises(InputError, match=r"method\.gradient: expected target"):
        D2R(collaborative=False, gradient="mixture")


@pytest.mark.parametrize("gradient", ["target", "guide", "mixture"])
def test_generating_leaves_both_networks_as_they_were(gradient: str) -> None:
    method, model, batch = networks(gradient=gradient)
    both = nn.ModuleList([model, method.guide_network])
    before = {name: tensor.clone() for name, tensor in both.state_dict().items()}
    method.perturb(model, batch)
    assert all(module.training for module in both.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in both.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in both.state_dict().items())


def test_target_and_guide_learn_in_one_optimiser_and_share_nothing() -> None:
    method, model, batch = networks()
    own, guides = set(model.parameters()), set(method.guide_network.parameters())
    assert not own & guides
    groups = SGD(parameter_groups(model, method)).param_groups
    assert {p for group in groups for p in group["params"]} == own | guides
    method(model, batch).backward()
    assert all(p.grad is not None and p.grad.any() for p in own | guides)


def test_no_weight_on_the_target_leaves_the_guides_standard_training() -> None:
    method, model, batch = networks(mse_weight=0.0, clean_weight=0.0, adversarial_weight=0.0)
    method(model, batch).backward()
    assert not any(p.grad.any() for p in model.parameters())
    ours = [p.grad.clone() for p in method.guide_network.parameters()]
    method.guide_network.zero_grad()
    nn.functional.cross_entropy(method.guide_network(batch.images), batch.labels).backward()
    torch.testing.assert_close(ours, [p.grad for p in method.guide_network.parameters()])


QUICK = {"epochs": 2, "budget": "none", "trackers": [], "device": "cpu", "batch_size": 128, "select": "last"}


def small(**settings: object) -> D2R:
    return D2R(Guide("SmallCNN", {"width": 6}), attack=GradientAttack(steps=2, start="normal"), **settings)


def narrow(num_classes: int, in_channels: int) -> nn.Module:
    return SmallCNN(num_classes, in_channels, width=4)


def accuracy(model: nn.Module) -> float:
    images, labels = Digits().load("test").subset(torch.arange(200))
    with torch.no_grad():
        return (model.eval()(images).argmax(1) == labels).float().mean().item()


def test_a_run_saves_the_target_as_its_model_and_the_guide_beside_it(tmp_path: Path) -> None:
    trained = train(model=SmallCNN, method=small(save_guide=True), out=str(tmp_path / "a"), **QUICK)
    images = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(load_model(trained.folder)(images), trained.model(images))
    assert trained.model.network.width != 6
    kept = trained.folder.path / "guide.safetensors"
    guide = Guide("SmallCNN", {"width": 6}, weights=str(kept)).build(trained.model)
    state = load_state(trained.folder.checkpoint)["method"]
    assert {f"guide_network.{name}" for name in guide.state_dict()} == set(state)
    assert all(torch.equal(tensor, state[f"guide_network.{name}"]) for name, tensor in guide.state_dict().items())
    assert accuracy(guide) > 0.25  # after two epochs; chance is 0.1
    # A second run may start from it.
    again = D2R(Guide("SmallCNN", {"width": 6}, weights=str(kept)), attack=GradientAttack(steps=1, start="normal"))
    again.prepare(trained.model)
    torch.testing.assert_close(again.guide_network.eval()(images), guide.eval()(images))


def test_without_being_asked_the_guide_is_not_kept(tmp_path: Path) -> None:
    trained = train(model=narrow, method=small(), out=str(tmp_path / "a"), **{**QUICK, "epochs": 1})
    assert not (trained.folder.path / "guide.safetensors").exists()
    assert {path.name for path in trained.folder.path.glob("*.safetensors")} == {"model.safetensors"}


def test_stopped_within_an_epoch_and_resumed_target_and_guide_are_bit_identical(tmp_path: Path) -> None:
    settings = {**QUICK, "model": SmallCNN, "method": small(save_guide=True)}
    train(**settings, out=str(tmp_path / "whole"))
    with pytest.raises(Interrupted):
        train(**settings, out=str(tmp_path / "stopped"), observer=StopAt(15))
    train(resume=str(tmp_path / "stopped"))
    for name in ("model.safetensors", "guide.safetensors", "checkpoints/last/tensors.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mse_weight": -1.0}, "method.mse_weight: expected a number of at least 0, got -1.0"),
        ({"clean_weight": math.nan}, "method.clean_weight: .* got nan"),
        ({"adversarial_weight": -2.0}, "method.adversarial_weight: .* got -2.0"),
        ({"log_offset": -1e-5}, "method.log_offset: .* got -1e-05"),
        ({"clean": "KL"}, "method.clean: expected one of kl, reverse_kl, gap, js, mse, got 'KL'"),
        ({"adversarial": "l2"}, "method.adversarial: expected one of kl, .*, got 'l2'"),
        ({"over_classes": "max"}, "method.over_classes: expected one of mean, sum, got 'max'"),
        ({"gradient": "both"}, "method.gradient: expected one of target, guide, mixture, got 'both'"),
        ({"guide_share": 1.5}, "method.guide_share: expected a share from 0 to 1, got 1.5"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        D2R(**settings)


def test_a_method_that_was_not_prepared_says_so() -> None:
    batch = Batch(torch.rand(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(InputError, match=r"no guide yet.*model = method.prepare\(model\)"):
        D2R()(narrow(10, 1), batch)
