"""LIET: its random labels, the classes' perturbations, and the starts that are made of them."""

import pytest
import torch
from torch import Tensor, nn

from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import LIET, Perturbed
from toughen.methods.liet import randomly_smoothed
from toughen.models import SmallCNN
from toughen.threat import ThreatModel

EPS = 0.05


def linear() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).double()


def bound(**settings: object) -> LIET:
    method = LIET(**settings).under(ThreatModel("linf", EPS), torch.Generator().manual_seed(0))
    method.prepare(linear())
    return method


def batch(n: int = 6) -> Batch:
    draws = torch.Generator().manual_seed(1)
    images = 0.3 + 0.4 * torch.rand(n, 1, 8, 8, generator=draws, dtype=torch.float64)
    return Batch(images, torch.arange(n) % 4)


def test_labels_keep_their_share_and_the_others_get_the_rest_at_random() -> None:
    found = bound(smoothing=0.6).softened(torch.arange(4).repeat(500), 4)
    torch.testing.assert_close(found.sum(1), torch.ones(2000))
    true = found.gather(1, (torch.arange(2000) % 4)[:, None])
    torch.testing.assert_close(true, torch.full_like(true, 0.4))
    others = found[0::4, 1:]
    assert others.mean(0).tolist() == pytest.approx([0.2] * 3, abs=0.01)
    assert others.std(0).min() > 0.05
    mixed = torch.tensor([[0.3, 0.7, 0.0]])
    expected = 0.5 * mixed + 0.5 * torch.tensor([[0.7 * 0.5, 0.3 * 0.5, 1.0]]) / 1.5
    torch.testing.assert_close(randomly_smoothed(mixed, torch.tensor([[0.5, 0.5, 1.0]]), 0.5), expected)


def uphill(model: nn.Sequential) -> Tensor:
    """The sign of each class' gradient at a grey image, from its formula."""
    weight, bias = model[1].weight.detach(), model[1].bias.detach()
    p = (torch.full((64,), 0.5, dtype=torch.float64) @ weight.T + bias).softmax(0)
    return ((p - torch.eye(4, dtype=torch.float64)) @ weight).sign().view(4, 1, 8, 8)


def test_starts_are_made_of_the_class_and_noise() -> None:
    method, model, data = bound(smoothing=0.0, least=0.2, most=0.6), linear(), batch()
    shares, signs = [], set()
    for _ in range(30):
        delta = method.perturb(model, data).initial - data.images
        assert delta.abs().max() <= EPS + 1e-12
        own = uphill(model)[data.labels] * EPS
        sign = 1 if (delta - own).abs().lt(1e-12).sum() > (delta + own).abs().lt(1e-12).sum() else -1
        replaced = (delta - sign * own).abs() > 1e-12
        shares.append(replaced.double().mean().item())
        signs.add(sign)
        assert delta[replaced].abs().mean().item() == pytest.approx(EPS / 2, rel=0.25)
    assert 0.1 < min(shares) < 0.3 < 0.5 < max(shares) < 0.7
    assert signs == {1, -1}


def test_the_classes_are_asked_again_every_so_many_steps_of_an_epoch() -> None:
    method, model, data = bound(smoothing=0.0, every=3), linear(), batch()
    renewed = []
    for step in range(8):
        if step == 5:
            method.begin_epoch(model, 1, data)
        with torch.no_grad():
            model[1].weight.neg_()  # turns every gradient
        method.perturb(model, data)
        renewed.append(torch.equal(method.indicator, EPS * uphill(model)))
    # In between it is that of an earlier step, which every second time has the same weights.
    assert [renewed[step] for step in (0, 1, 3, 4, 5, 6)] == [True, False, True, False, True, False]
    resumed = bound(smoothing=0.0, every=3).double()
    resumed.load_state_dict(method.state_dict())
    assert torch.equal(resumed.indicator, method.indicator)
    assert resumed.get_extra_state() == method.get_extra_state() == 3


def test_the_weight_grows_to_its_whole() -> None:
    method = bound(lam=100.0)
    method.epochs = 100
    lam = 0.0
    for epoch in range(100):
        lam += 100.0 / 100
        method.begin_epoch(linear(), epoch, batch())
        assert method.weight.item() == pytest.approx(lam)


def test_without_projection_it_goes_eps_beyond_the_start() -> None:
    method, data = bound(noise=2.0, projected=False, least=1.0, most=1.0), batch()
    perturbed = method.perturb(linear(), data)
    assert EPS < (perturbed.initial - data.images).abs().max() <= 2 * EPS
    torch.testing.assert_close((perturbed.images - perturbed.initial).abs(), torch.full_like(data.images, EPS))


def test_the_loss_is_of_the_labels_that_were_drawn() -> None:
    method, model, data = bound(lam=0.0), linear(), batch()
    target = method.softened(data.labels, 4).double()
    terms = method.terms(model, data, Perturbed(data.images, data.images, target=target))
    expected = -(target * model(data.images).log_softmax(1)).sum(1)
    torch.testing.assert_close(terms["adversarial_ce"].values, expected)
    assert terms["jensen_shannon"].values.abs().max() < 1e-12


def test_a_label_that_says_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"method\.smoothing: expected less than 1 - 1/2 with 2 classes"):
        LIET().prepare(SmallCNN(2, 1, width=4))
    with pytest.raises(InputError, match=r"call method\.prepare\(model\)"):
        LIET().perturb(linear(), batch())
    assert LIET().own_smoothing() == "--method.smoothing 0"
    assert LIET(smoothing=0.0).own_smoothing() is None


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"lam": -1.0}, "lam"), ({"smoothing": 1.0}, "smoothing"), ({"least": 0.6}, "most"), ({"every": 0}, "every")],
)
def test_settings_out_of_range(settings: dict, name: str) -> None:
    with pytest.raises(InputError, match=rf"method\.{name}: expected"):
        LIET(**settings)
