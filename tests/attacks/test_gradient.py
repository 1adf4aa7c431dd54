"""What the loop promises of the model that it attacks, and of its settings."""

import pytest
import torch
from torch import nn

from toughen.attacks import FGSM, PGD, GradientAttack, attacked
from toughen.errors import InputError
from toughen.losses import cross_entropy, margin
from toughen.threat import ThreatModel


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.Tanh(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(8 * 36, 5),
        )


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(1))


LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def test_model_is_left_as_it_was(model: nn.Module, images: torch.Tensor, threat: ThreatModel) -> None:
    model.train()
    model[1].eval()  # a user's frozen layer
    model[5].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    PGD(steps=3)(model, images, LABELS, threat)
    assert [module.training for module in model.modules()] == flags
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_model_is_left_as_it_was_after_an_error(model: nn.Module, images: torch.Tensor, threat: ThreatModel) -> None:
    model.train()

    def broken(logits: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("from the objective")

    with pytest.raises(RuntimeError, match="from the objective"):
        GradientAttack().maximise(model, broken, images, threat)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_train_mode_uses_and_updates_batch_statistics(
    model: nn.Module, images: torch.Tensor, threat: ThreatModel
) -> None:
    model.train()
    PGD(steps=3, mode="train")(model, images, LABELS, threat)
    assert model[1].num_batches_tracked == 3


def test_attack_works_inside_no_grad_and_gives_no_gradient(
    model: nn.Module, images: torch.Tensor, threat: ThreatModel
) -> None:
    with torch.no_grad():
        adversarial = PGD(steps=2)(model, images, LABELS, threat)
    assert not adversarial.requires_grad
    assert not images.requires_grad
    assert not torch.equal(adversarial, images)


def test_parameters_are_not_differentiated(model: nn.Module, images: torch.Tensor) -> None:
    with attacked(model):
        logits = model(images.clone().requires_grad_())
        gradients = (
            torch.autograd.grad(logits.sum(), list(model.parameters()), allow_unused=True)
            if any(parameter.requires_grad for parameter in model.parameters())
            else [None]
        )
    assert all(gradient is None for gradient in gradients)


@pytest.mark.parametrize("norm_eps", [("linf", 0.1), ("l2", 1.0), ("l1", 5.0)])
def test_more_work_never_lowers_what_is_kept(
    model: nn.Module, images: torch.Tensor, norm_eps: tuple[str, float]
) -> None:
    threat = ThreatModel(*norm_eps)
    model.eval()
    reached = []
    for attack in (
        PGD(steps=1, keep_best=True),
        PGD(steps=1, restarts=4),
        PGD(steps=20, restarts=4, keep_best=True),
    ):
        adversarial = attack(model, images, LABELS, threat, torch.Generator().manual_seed(0))
        threat.check(adversarial, images)
        with torch.no_grad():
            reached.append(cross_entropy(model(adversarial), LABELS).mean().item())
    assert reached[0] <= reached[1] + 1e-6 <= reached[2] + 2e-6


def test_a_misclassified_point_is_kept_even_if_another_has_a_higher_loss(images: torch.Tensor) -> None:
    """The label-aware call prefers success; a margin of 0 or less is no success."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 5)).eval()
    threat = ThreatModel("linf", 0.05)
    attack = PGD(steps=10, restarts=3, keep_best=True)
    adversarial = attack(model, images, LABELS, threat, torch.Generator().manual_seed(0))
    plain = PGD(steps=10)(model, images, LABELS, threat, torch.Generator().manual_seed(0))
    with torch.no_grad():
        kept, last = margin(model(adversarial), LABELS) > 0, margin(model(plain), LABELS) > 0
    assert not (last & ~kept).any()


def test_same_generator_same_images(model: nn.Module, images: torch.Tensor, threat: ThreatModel) -> None:
    attack = PGD(steps=1, step_size=0.001)
    runs = [attack(model, images, LABELS, threat, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*runs)
    other = attack(model, images, LABELS, threat, torch.Generator().manual_seed(8))
    assert not torch.equal(runs[0], other)


def test_default_step_sizes() -> None:
    threat = ThreatModel("linf", 8 / 255)
    assert PGD(steps=10).step_size_under(threat) == pytest.approx(2 / 255)
    assert FGSM().step_size_under(threat) == pytest.approx(8 / 255)
    assert FGSM(start="uniform").step_size_under(threat) == pytest.approx(10 / 255)
    assert PGD(step_size="1/255").step_size_under(threat) == pytest.approx(1 / 255)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "attack.steps: expected at least 1, got 0"),
        ({"restarts": 0}, "attack.restarts"),
        ({"step_size": -1}, "attack.step_size: expected a positive number"),
        ({"step_size": "two"}, "attack.step_size: expected a number such as"),
        ({"loss": "mse"}, "attack.loss: expected one of ce, margin, dlr"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PGD(**settings)


def test_whoever_watches_sees_the_gradient_of_every_step(
    model: nn.Module, images: torch.Tensor, threat: ThreatModel
) -> None:
    seen: list[torch.Tensor] = []
    attack = GradientAttack(steps=3, restarts=2)
    begin = threat.random_start(images, torch.Generator().manual_seed(0))
    attack.maximise(
        model, lambda logits: cross_entropy(logits, LABELS), images, threat, initial=begin, on_gradient=seen.append
    )
    assert len(seen) == 6
    x = begin.clone().requires_grad_(True)
    cross_entropy(model.eval()(x), LABELS).sum().backward()
    torch.testing.assert_close(seen[0], x.grad)
