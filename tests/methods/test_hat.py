"""HAT: the formula, and a helper that is loaded, fixed and kept."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.errors import InputError, RunError
from toughen.methods import HAT, total
from toughen.methods.hat import hat_terms
from toughen.methods.method import Perturbed
from toughen.models import SmallCNN
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.threat import ThreatModel
from toughen.training import SGD
from toughen.training.optimizer import parameter_groups


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return SmallCNN(5, 1, width=4)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """Weights of a helper, as a file."""
    save_file(network(1).state_dict(), tmp_path / "standard.safetensors")
    return str(tmp_path / "standard.safetensors")


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(torch.rand(6, 1, 6, 6, generator=generator), torch.tensor([0, 1, 2, 3, 4, 0]))


def test_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, adversarial, beyond = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    labels, helped = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([1, 1, 0, 3, 2, 2])
    terms = hat_terms(clean, adversarial, beyond, labels, helped, beta=2.5, gamma=0.5)
    divergence = F.kl_div(adversarial.log_softmax(1), clean.softmax(1), reduction="batchmean")
    expected = F.cross_entropy(clean, labels) + 2.5 * divergence + 0.5 * F.cross_entropy(beyond, helped)
    torch.testing.assert_close(total(terms), expected)


def test_gradients() -> None:
    logits = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    labels, helped = torch.tensor([0, 1, 2]), torch.tensor([1, 1, 0])
    assert torch.autograd.gradcheck(lambda a, b, c: total(hat_terms(a, b, c, labels, helped, 2.5, 0.5)), logits)


def test_huge_and_equal_logits_are_finite() -> None:
    clean = (1e4 * torch.eye(3)).requires_grad_(True)
    for other in (1e4 * torch.eye(3).roll(1, 0), clean):
        loss = total(hat_terms(clean, other, other, torch.arange(3), torch.arange(3), 2.5, 0.5))
        assert loss.isfinite()
        assert torch.autograd.grad(loss, clean)[0].isfinite().all()


def test_helper_images_lie_h_perturbations_away_and_have_the_helpers_labels(weights: str) -> None:
    """Against the published code's steps, with a network that records what it is shown."""
    shown = []

    class Recorder(nn.Module):
        num_classes = 5

        def __init__(self) -> None:
            super().__init__()
            self.inner = network(0)

        def forward(self, images: Tensor) -> Tensor:
            shown.append(images)
            return self.inner(images)

    model = Recorder().eval()
    method = HAT(weights, h=3.0)
    method.prepare(model.inner)
    images = batch().images
    perturbed = images + 0.1 * torch.randn(images.shape)
    terms = method.terms(model, batch(), Perturbed(perturbed))
    torch.testing.assert_close(shown[2], images + 3 * (perturbed - images))
    labels = network(1).eval()(perturbed).argmax(1)
    expected = F.cross_entropy(model.inner(shown[2]), labels, reduction="none")
    torch.testing.assert_close(terms["helper_ce"].values, expected)


def test_the_helper_is_fixed_and_in_eval_mode_and_stays_so(weights: str) -> None:
    model = network(0)
    method = HAT(weights, attack=GradientAttack(steps=1)).under(ThreatModel("linf", 0.1))
    assert method.prepare(model) is model
    method.train()
    helper = method.helper
    assert helper is not None
    assert not any(module.training for module in helper.modules())
    before = {name: tensor.clone() for name, tensor in helper.state_dict().items()}
    optimizer = SGD(parameter_groups(model, method), lr=0.1)
    optimized = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(optimized) == sorted(id(p) for p in model.parameters())
    for _ in range(2):
        method(model, batch()).backward()
        optimizer.step()
    assert all(p.grad is None for p in helper.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in helper.state_dict().items())


def test_the_helper_is_saved_once_with_the_method_and_not_with_the_model(weights: str) -> None:
    model = network(0)
    method = HAT(weights)
    names = set(network(1).state_dict())
    assert set(method.prepare(model).state_dict()) == names
    assert set(method.state_dict()) == {f"helper.{name}" for name in names}
    assert set(method.inference_model(model).state_dict()) == names


def test_the_helper_of_a_runs_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "standard")
    folder.create()
    folder.write_config({"model": describe(network(1))})
    save_file(network(1).state_dict(), folder.model)
    method = HAT(str(folder.path))
    method.prepare(network(0))
    assert method.helper is not None
    images = batch().images
    torch.testing.assert_close(method.helper(images), network(1).eval()(images))


def test_without_a_helper_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        HAT().prepare(network(0))
    for words in ("method.standard", "toughen train --method Standard --out runs/standard", "--method.standard runs"):
        assert words in str(error.value)
    with pytest.raises(RunError, match="no network at"):
        HAT(str(tmp_path / "missing")).prepare(network(0))
    with pytest.raises(InputError, match=r"method\.prepare\(model\)"):
        HAT().terms(network(0), batch(), Perturbed(batch().images))


def test_beta_and_gamma_scale_their_own_terms_only(weights: str) -> None:
    plain, scaled = HAT(weights, beta=1.0, gamma=1.0), HAT(weights, beta=5.0, gamma=0.0)
    found = []
    for method in (plain, scaled):
        model = network(0).eval()
        method.prepare(model)
        found.append(method.terms(model, batch(), Perturbed(batch().images.flip(3))))
    assert [term.weight for term in found[0].values()] == [1.0, 1.0, 1.0]
    assert [term.weight for term in found[1].values()] == [1.0, 5.0, 0.0]
    assert all(torch.equal(found[0][name].values, found[1][name].values) for name in found[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": -1.0}, r"method\.beta"),
        ({"gamma": -1.0}, r"method\.gamma"),
        ({"h": 0.5}, r"method\.h: expected a factor of at least 1"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        HAT(**settings)
