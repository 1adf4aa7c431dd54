"""The memory of FGSM-PGI, FGSM-PGK and RegMix against a plain loop over images and steps."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.data import Augment
from toughen.errors import InputError
from toughen.methods import FGSMPGI, FGSMPGK, RegMix
from toughen.methods.method import Perturbed
from toughen.methods.prior import PriorGuided, failure_rate, initial_of
from toughen.models import SmallCNN
from toughen.placement import Placement
from toughen.threat import ThreatModel

EPS = 0.1
N, SHAPE = 12, (1, 8, 8)
MAKERS = [FGSMPGI, FGSMPGK, RegMix]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SmallCNN(10, 1, width=4)


def images_of(indices: torch.Tensor) -> torch.Tensor:
    return torch.rand(N, *SHAPE, generator=generator(7))[indices]


def batch_of(*indices: int, placement: Placement | None = None) -> Batch:
    chosen = torch.tensor(indices)
    images = images_of(chosen)
    return Batch(images if placement is None else placement.apply(images), chosen % 10, chosen, placement=placement)


def bound(make: Callable[..., PriorGuided] = FGSMPGI, **settings: object) -> PriorGuided:
    method = make(**settings).under(ThreatModel("linf", EPS), generator())
    method.allocate_memory(N, SHAPE)
    return method


def gradient_at(model: nn.Module, method: PriorGuided, batch: Batch, start: torch.Tensor) -> torch.Tensor:
    """Of the relaxed cross-entropy, by autograd, with BatchNorm as it is in evaluation."""
    x = start.clone().requires_grad_(True)
    log_p = model.eval()(x).log_softmax(1)
    model.train()
    loss = 0.0
    for row, label in zip(log_p, batch.labels, strict=True):
        rest = (1 - method.factor) / 9
        loss = loss - sum((method.factor if k == label else rest) * row[k] for k in range(10))
    (gradient,) = torch.autograd.grad(loss, x)
    return gradient


def test_the_first_attack_starts_at_a_random_corner(model: nn.Module) -> None:
    method = bound()
    batch = batch_of(*range(N))
    start = method.perturb(model, batch).initial
    moved = start - batch.images
    free = (start > 0) & (start < 1)
    torch.testing.assert_close(moved[free].abs(), torch.full_like(moved[free], EPS), atol=1e-4, rtol=0)
    assert (moved[free] > 0).float().mean().item() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(("make", "weights"), [(FGSMPGI, [1.0, 1.0, 1.0]), (FGSMPGK, [1.0, 1.6, 0.75])])
def test_memory_moves_as_published(model: nn.Module, make: type[PriorGuided], weights: list[float]) -> None:
    method = bound(make, momentum=0.4)
    batch = batch_of(5, 0, 9)
    delta, velocity = None, torch.zeros(3, *SHAPE)
    for weight in weights:
        perturbed = method.perturb(model, batch)
        if make is FGSMPGK:  # which remembers the attack after the loss, when it knows the share that held
            method.held.fill_(2 - weight)
            method.after_loss(batch, perturbed)
        start = perturbed.initial
        if delta is not None:
            torch.testing.assert_close(start, (batch.images + delta).clamp(0, 1), atol=5e-5, rtol=0)
        gradient = gradient_at(model, method, batch, start)
        step = (start + EPS * gradient.sign() - batch.images).clamp(-EPS, EPS)
        torch.testing.assert_close(perturbed.images, (batch.images + step).clamp(0, 1))
        velocity = weight * gradient / gradient.abs().mean() + 0.4 * velocity
        after = (start + EPS * velocity.sign() - batch.images).clamp(-EPS, EPS)
        delta = (batch.images + after).clamp(0, 1) - batch.images
        torch.testing.assert_close(method.velocity[batch.indices].float(), velocity, atol=1e-2, rtol=2e-3)
    assert method.known.nonzero().flatten().tolist() == [0, 5, 9]
    assert method.perturbation[~method.known].abs().max() == 0


@pytest.mark.parametrize("make", MAKERS)
def test_each_image_goes_on_from_its_own_perturbation_in_any_order(model: nn.Module, make: type[PriorGuided]) -> None:
    method = bound(make)
    first = batch_of(3, 8, 1)
    method.after_loss(first, method.perturb(model, first))
    memory = method.perturbation.clone().float()
    batch = batch_of(8, 2, 3)
    start = method.perturb(model, batch).initial
    for place, index in ((0, 8), (2, 3)):
        expected = (batch.images[place] + memory[index]).clamp(0, 1)
        torch.testing.assert_close(start[place], expected, atol=5e-5, rtol=0)
    assert torch.equal(method.perturbation[1].float(), memory[1])  # not in this batch


def test_memory_follows_the_crop_and_the_flip(model: nn.Module) -> None:
    """A memory that was written under one placement is read under another as the perturbation of the same pixels."""
    method = bound(FGSMPGI)
    first = batch_of(4, 6, 2, placement=Augment(crop=2, flip=True).draw(3, generator(1)))
    method.perturb(model, first)
    stored = method.perturbation.clone().float()
    second = batch_of(2, 4, 6, placement=Augment(crop=2, flip=True).draw(3, generator(2)))
    start = method.perturb(model, second).initial
    height, width = SHAPE[1:]
    for n, index in enumerate([2, 4, 6]):
        dy, dx = int(second.placement.dy[n]), int(second.placement.dx[n])
        for i in range(height):
            for j in range(width):
                row, column = i + dy, (width - 1 - j if second.placement.flipped[n] else j) + dx
                inside = 0 <= row < height and 0 <= column < width
                remembered = stored[index, 0, row, column].item() if inside else 0.0
                expected = min(max(second.images[n, 0, i, j].item() + remembered, 0.0), 1.0)
                assert start[n, 0, i, j].item() == pytest.approx(expected, abs=5e-5)


def test_what_a_crop_hides_keeps_its_memory(model: nn.Module) -> None:
    method = bound(FGSMPGI)
    method.perturb(model, batch_of(0))
    before = method.perturbation[0].clone(), method.velocity[0].clone()
    down = Placement(torch.tensor([3]), torch.tensor([0]), torch.tensor([False]), reach=3)
    method.perturb(model, batch_of(0, placement=down))
    for new, old in zip((method.perturbation[0], method.velocity[0]), before, strict=True):
        assert torch.equal(new[:, :3], old[:, :3])  # rows 0 .. 2 were outside the crop
        assert not torch.equal(new[:, 3:], old[:, 3:])


def test_velocity_follows_the_crop_and_the_flip(model: nn.Module) -> None:
    """Where a gradient is 0, a visible pixel's velocity keeps its share and a hidden one's stays, wherever they are."""
    method = bound(FGSMPGI, momentum=0.5)
    batch = batch_of(4, 6, placement=Augment(crop=2, flip=True).draw(2, generator(3)))
    old = torch.randn(2, *SHAPE, generator=generator(8))
    method.velocity[batch.indices] = old.half()
    method._keep(batch, batch.images, torch.zeros_like(batch.images), 1.0, EPS)
    visible = batch.placement.undo(torch.ones_like(old), like=torch.zeros_like(old)) == 1
    assert 0 < visible.float().mean() < 1
    expected = torch.where(visible, 0.5 * old, old)
    torch.testing.assert_close(method.velocity[batch.indices].float(), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("threat", [ThreatModel("l2", 0.5), ThreatModel("l1", 3.0)], ids=str)
def test_other_norms_start_at_the_border_and_stay_inside(model: nn.Module, threat: ThreatModel) -> None:
    method = bound().under(threat, generator())
    batch = batch_of(*range(N))
    grey = Batch(torch.full_like(batch.images, 0.5), batch.labels, batch.indices)
    for step in range(3):
        perturbed = method.perturb(model, grey)
        threat.check(perturbed.initial, grey.images)
        threat.check(perturbed.images, grey.images)
        if step == 0:
            size = threat.norm_of(perturbed.initial - grey.images)
            torch.testing.assert_close(size, torch.full((N,), threat.radius), rtol=1e-3, atol=0)


def test_everything_is_forgotten_every_reset_epochs(model: nn.Module) -> None:
    method = bound(reset=3)
    batch = batch_of(0, 1)
    for epoch in range(7):
        before = method.known.clone()
        method.begin_epoch(model, epoch, batch)
        if epoch % 3 == 0:
            assert not method.known.any()
            assert method.velocity.abs().max() == 0
        else:
            assert torch.equal(method.known, before)
            assert before[:2].all()
        method.perturb(model, batch)


def test_a_copy_goes_on_as_the_original_does(model: nn.Module) -> None:
    method, batch = bound(FGSMPGK), batch_of(1, 2, 3)
    method.terms(model, batch, method.perturb(model, batch))
    other = bound(FGSMPGK)
    other.load_state_dict(method.state_dict())
    other.generator.set_state(method.generator.get_state())
    found, expected = other.perturb(model, batch), method.perturb(model, batch)
    for name in ("images", "initial", "gradient"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert {"perturbation", "velocity", "known", "held"} == set(method.state_dict())


def test_gradients_of_any_size_are_kept(model: nn.Module) -> None:
    """Half precision reaches neither 1e-30 nor 1e6: what is kept is relative to the batch, and clipped."""
    images = batch_of(0, 1).images
    for scale in (1e-30, 1e30):
        method = bound(attack=GradientAttack(steps=1, start="clean"))
        start = method._start(batch_of(0, 1))
        method._keep(batch_of(0, 1), start, scale * (images - 0.5), 1.0, EPS)
        torch.testing.assert_close(
            method.velocity[:2].float(), (images - 0.5) / (images - 0.5).abs().mean(), atol=2e-3, rtol=2e-3
        )
    method._keep(batch_of(0, 1), start, torch.zeros_like(images), 1.0, EPS)
    assert method.velocity.isfinite().all()
    spike = torch.zeros_like(images)
    spike[0, 0, 0, 0] = 1.0
    method._keep(batch_of(0, 1), start, spike, 1e9, EPS)
    assert method.velocity.isfinite().all()


def test_share_held_counts_those_right_at_the_start() -> None:
    labels = torch.arange(4)
    right, wrong = torch.eye(4), torch.eye(4).roll(1, 0)
    before = torch.tensor(0.3)
    assert failure_rate(right, right, labels, before) == 1
    assert failure_rate(wrong, right, labels, before) == 0
    half = torch.cat([right[:2], wrong[2:]])
    assert failure_rate(half, right, labels, before) == 0.5
    assert failure_rate(right, half, labels, before) == 1  # never more
    assert failure_rate(right, wrong, labels, before) == before  # nothing to go by


@pytest.mark.parametrize("make", MAKERS)
def test_what_a_user_may_forget(model: nn.Module, make: type[PriorGuided]) -> None:
    method = make().under(ThreatModel("linf", EPS), generator())
    with pytest.raises(
        InputError, match=rf"{make.__name__} remembers .* no memory was made; call method\.allocate_memory"
    ):
        method.perturb(model, batch_of(0))
    method.allocate_memory(N, SHAPE)
    batch = batch_of(0)
    with pytest.raises(InputError, match=r"expected Batch\.indices.*got None"):
        method.perturb(model, Batch(batch.images, batch.labels))
    method.allocate_memory(N, (1, 9, 8))
    with pytest.raises(InputError, match=r"made for images of \(1, 9, 8\), got images of \(1, 8, 8\)"):
        method.perturb(model, batch)
    with pytest.raises(InputError, match=r"perturbed\.initial: expected the images"):
        initial_of(Perturbed(batch.images))


@pytest.mark.parametrize(
    ("settings", "name"), [({"momentum": 1.0}, "momentum"), ({"momentum": -0.1}, "momentum"), ({"reset": 0}, "reset")]
)
@pytest.mark.parametrize("make", MAKERS)
def test_settings_out_of_range(make: type[PriorGuided], settings: dict, name: str) -> None:
    with pytest.raises(InputError, match=rf"method\.{name}: expected"):
        make(**settings)
