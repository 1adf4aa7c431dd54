"""Attack steps, image sizes and eps that grow: their formulas, their limits, and whole runs."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stopping import StopAt
from torch import Tensor, nn
from torch.nn import functional as F

from toughen import train
from toughen.attacks import FGSM, PGD, GradientAttack
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import FGSMPGI, NFGSM, PGDAT, TRADES, Method, Perturbed, RegMix, Standard, Term, Terms
from toughen.models import SmallCNN
from toughen.threat import ThreatModel
from toughen.training import GrowingEps, GrowingSize, GrowingSteps, Interrupted
from toughen.training.log import read_rows
from toughen.training.ramps import Growth

LINF = ThreatModel("linf", 0.1)
SMALL = {
    "epochs": 4,
    "budget": "none",
    "trackers": [],
    "guards": None,
    "device": "cpu",
    "batch_size": 64,
    "train_images": 200,
    "val_images": 20,
    "model": partial(SmallCNN, width=4),
}


@pytest.mark.parametrize("epochs", [1, 3, 7, 30])
@pytest.mark.parametrize("until", [0.1, 0.3, 0.6, 1.0])
def test_growth_is_monotone_and_complete_from_until_on(epochs: int, until: float) -> None:
    steps, size = GrowingSteps(first=3, until=until), GrowingSize(first=0.4, until=until, stages=3)
    counts = [steps.steps(epoch, epochs, most=10) for epoch in range(epochs)]
    sides = [size.side(32, epoch, epochs) for epoch in range(epochs)]
    assert counts == sorted(counts) and sides == sorted(sides)
    assert counts[0] == 3 and sides[0] == 13
    for epoch in range(math.ceil(until * epochs), epochs):
        assert (counts[epoch], sides[epoch]) == (10, 32)


def test_the_number_of_steps_is_the_formula() -> None:
    """Against whole numbers, in which nothing is rounded: until = 3/5 of 20 epochs."""
    for epoch in range(20):
        assert GrowingSteps(first=2, until=0.6).steps(epoch, 20, most=10) == min(10, 2 + (8 * epoch) // 12)
        assert GrowingSize(first=0.5, until=0.6, stages=4).side(32, epoch, 20) == 16 + 4 * min(4, 4 * epoch // 12)


def test_a_given_step_size_is_scaled_up_to_the_default_and_the_default_follows() -> None:
    ramp = GrowingSteps(first=2, until=1.0)
    for attack in (
        PGD(steps=10, step_size=0.02),
        GradientAttack(steps=10, step_size=0.04),
        PGD(steps=10, start="clean"),
    ):
        before = repr(attack)
        shorter = ramp.attack(attack, LINF, epoch=0, epochs=5)
        assert shorter.steps == 2
        assert repr(attack) == before
        assert type(shorter) is type(attack)
    assert ramp.attack(PGD(steps=10, step_size=0.02), LINF, 0, 5).step_size == pytest.approx(0.1)  # of 0.02 * 10 / 2
    assert ramp.attack(PGD(steps=10, step_size=0.04), LINF, 0, 5).step_size == pytest.approx(0.125)  # the default's
    assert ramp.attack(PGD(steps=10, step_size=0.5), LINF, 0, 5).step_size == 0.5  # never shorter than given
    assert ramp.attack(PGD(steps=10), LINF, 0, 5).step_size_under(LINF) == pytest.approx(0.125)
    full = GrowingSteps(first=2, until=0.2).attack(PGD(steps=10, step_size=0.02), LINF, 1, 5)
    assert (full.steps, full.step_size) == (10, 0.02)


def test_resized_images_are_torchs_and_stay_in_range() -> None:
    images = torch.rand(3, 2, 12, 20, generator=torch.Generator().manual_seed(0)).round()
    ramp = GrowingSize(first=0.5, until=1.0, stages=2)
    half = ramp.resized(images, epoch=0, epochs=2)
    assert half.shape == (3, 2, 6, 10)
    assert 0 <= half.min() <= half.max() <= 1
    expected = F.interpolate(images, (6, 10), mode="bilinear", antialias=True)
    torch.testing.assert_close(half, expected.clamp(0, 1))
    assert ramp.resized(images, epoch=1, epochs=2).shape == (3, 2, 9, 15)
    torch.testing.assert_close(ramp.resized(torch.full((1, 1, 8, 8), 0.3), 0, 2), torch.full((1, 1, 4, 4), 0.3))


class Recorder(Method):
    """Standard training that writes down the sizes and the steps."""

    seen: list[tuple[int, int, int]] = []  # noqa: RUF012 - the run trains a copy of the method
    radii: list[float] = []  # noqa: RUF012

    def __init__(self, attack: GradientAttack) -> None:
        super().__init__()
        self.attack = attack

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        Recorder.seen.append((self.attack.steps, *batch.images.shape[2:]))
        Recorder.radii.append(self.threat.radius)
        return Perturbed(batch.images)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        return {"ce": Term(F.cross_entropy(model(batch.images), batch.target, reduction="none"))}


def test_a_run_follows_both(tmp_path: Path) -> None:
    Recorder.seen.clear()
    steps, size = GrowingSteps(first=1, until=0.75), GrowingSize(first=0.5, until=0.5, stages=2)
    train(
        method=Recorder(PGD(steps=4)),
        attack_steps=steps,
        image_size=size,
        out=str(tmp_path / "a"),
        **SMALL,
    )
    per_epoch = len(Recorder.seen) // 4
    assert Recorder.seen[::per_epoch] == [(1, 4, 4), (2, 6, 6), (3, 8, 8), (4, 8, 8)]
    for epoch in range(4):
        assert len(set(Recorder.seen[epoch * per_epoch : (epoch + 1) * per_epoch])) == 1


def test_a_run_begins_on_clean_images_and_its_ball_grows(tmp_path: Path) -> None:
    """Nothing is attacked in the first epoch; validation is under the whole eps in all of them."""
    Recorder.radii.clear()
    eps = GrowingEps(clean=0.25, until=0.75)
    run = train(method=Recorder(PGD(steps=4)), attack_eps=eps, threat=LINF, out=str(tmp_path / "a"), **SMALL)
    rows = read_rows(run.folder.metrics)
    per_epoch = int(rows[0]["step"])
    grown = [0.1 * step / (2 * per_epoch) for step in range(1, 2 * per_epoch + 1)]
    assert Recorder.radii == pytest.approx([*grown, *[0.1] * per_epoch])


def test_a_clean_epoch_is_standard_training(tmp_path: Path) -> None:
    """PGD-AT on clean images takes the steps of standard training, to the bit."""
    eps = GrowingEps(clean=0.5, until=1.0)
    settings = {**SMALL, "epochs": 2, "select": "last"}
    with pytest.raises(Interrupted):
        train(method=PGDAT(), attack_eps=eps, **settings, out=str(tmp_path / "a"), observer=StopAt(4))
    with pytest.raises(Interrupted):
        train(method=Standard(), **settings, out=str(tmp_path / "b"), observer=StopAt(4))
    ours, plain = tensors(tmp_path / "a"), tensors(tmp_path / "b")
    weights = [name for name in plain if "model" in name]
    assert weights and all(torch.equal(ours[name], plain[name]) for name in weights)


def test_a_given_step_size_shrinks_with_the_ball() -> None:
    method = PGDAT(PGD(steps=4, step_size=0.02)).under(LINF)
    growth = Growth(method, epochs=4, eps=GrowingEps(until=1.0))
    with growth.ball(method, epoch=0.5):
        assert (method.threat.radius, method.attack.step_size) == pytest.approx((0.0125, 0.0025))
    assert (method.threat, method.attack.step_size) == (LINF, 0.02)
    with growth.ball(method, epoch=4):
        assert (method.threat, method.attack.step_size) == (LINF, 0.02)


def tensors(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "checkpoints" / "last" / "tensors.safetensors")


@pytest.mark.parametrize(
    "stop", [pytest.param(2, marks=pytest.mark.nightly), 6, pytest.param(8, marks=pytest.mark.nightly)]
)
def test_stopped_and_resumed_is_bit_identical(tmp_path: Path, stop: int) -> None:
    ramps = {
        "attack_steps": GrowingSteps(first=1),
        "image_size": GrowingSize(),
        "attack_eps": GrowingEps(clean=0.25),
        "freeze": ["features.0"],
        "body_rate": 0.5,
        "layer_decay": 0.5,
    }
    settings = {**SMALL, "method": TRADES(attack=GradientAttack(steps=3, start="normal")), **ramps}
    train(**settings, out=str(tmp_path / "whole"))
    with pytest.raises(Interrupted):
        train(**settings, out=str(tmp_path / "stopped"), observer=StopAt(stop))
    train(resume=str(tmp_path / "stopped"))
    one, other = tensors(tmp_path / "whole"), tensors(tmp_path / "stopped")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    plain = {**settings, "attack_steps": None, "image_size": None, "attack_eps": None}
    train(**plain, out=str(tmp_path / "plain"))
    first, every = (read_rows(tmp_path / name / "metrics.csv")[0] for name in ("whole", "plain"))
    assert first["loss/natural"] != every["loss/natural"]


class Flat(nn.Sequential):
    """Takes images of 8 x 8 pixels only."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": FGSMPGI(), "image_size": GrowingSize()}, "--image_size: FGSMPGI remembers a perturbation"),
        ({"method": RegMix(), "image_size": GrowingSize()}, "--image_size: RegMix remembers .* such as NFGSM"),
        ({"method": Standard(), "attack_eps": GrowingEps()}, "--attack_eps: Standard attacks nothing"),
        (
            {"method": FGSMPGI(), "attack_eps": GrowingEps(clean=0.1)},
            r"--attack_eps\.clean 0\.1: FGSMPGI remembers .* such as NFGSM",
        ),
        ({"method": FGSMPGI(), "attack_steps": GrowingSteps(1)}, r"--attack_steps\.first 1: .* FGSMPGI has 1; leave"),
        ({"method": PGDAT(FGSM()), "attack_steps": GrowingSteps()}, "of PGDAT has 1; leave --attack_steps out"),
        ({"method": Standard(), "attack_steps": GrowingSteps()}, "of Standard has 0"),
        (
            {"method": NFGSM(), "model": Flat, "image_size": GrowingSize()},
            r"--image_size.first 0\.5: the model cannot take images of 1 x 4 x 4",
        ),
    ],
)
def test_what_cannot_grow_is_refused(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(**{**SMALL, **settings}, out=str(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_regmix_without_its_memory_may_grow(tmp_path: Path) -> None:
    method = RegMix(prior=False, attack=PGD(steps=2))
    train(**{**SMALL, "epochs": 2}, method=method, image_size=GrowingSize(until=1.0), out=str(tmp_path / "a"))
    assert len(read_rows(tmp_path / "a/metrics.csv")) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GrowingSteps(first=0), r"attack_steps\.first: expected at least 1, got 0"),
        (lambda: GrowingSteps(until=0.0), r"attack_steps\.until: .* above 0 and at most 1, got 0\.0"),
        (lambda: GrowingSteps(until=1.5), r"attack_steps\.until"),
        (lambda: GrowingSize(first=1.0), r"image_size\.first: .* between 0 and 1, got 1\.0"),
        (lambda: GrowingSize(first=0.0), r"image_size\.first"),
        (lambda: GrowingSize(stages=0), r"image_size\.stages: expected at least 1, got 0"),
        (lambda: GrowingSize(until=-1.0), r"image_size\.until"),
        (lambda: GrowingEps(clean=1.0), r"attack_eps\.clean"),
        (lambda: GrowingEps(clean=0.5, until=0.5), r"attack_eps\.until: .* above attack_eps\.clean, got 0\.5 and 0\.5"),
    ],
)
def test_settings_out_of_range(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
