"""OA-AT: its schedule in plain loops, balls and turns, the average that it follows, and what its steps cost."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.commands.train import DEFAULTS
from toughen.commands.trainings.assemble import ready
from toughen.commands.trainings.settings import with_data_facts
from toughen.data import Digits
from toughen.errors import InputError
from toughen.methods import OAAT
from toughen.methods.oaat import mixture, schedule
from toughen.methods.perceptual import Perceptual
from toughen.models import SmallCNN
from toughen.run import RunFolder

IMAGES = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
BATCH = Batch(IMAGES, torch.arange(8) % 5)
EPS = 8 / 255


def bound(**settings: object) -> tuple[OAAT, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = OAAT(**settings).under(eps=EPS, generator=torch.Generator().manual_seed(0))
        return method, method.prepare(SmallCNN(5, 1, width=4)).train()


@pytest.mark.parametrize("epochs", [110, 200])
@pytest.mark.parametrize(("largest", "turns_from"), [(16, 12), (12, 9)])
def test_the_schedule_is_that_of_the_published_loop(epochs: int, largest: float, turns_from: float) -> None:
    ball, share = 4.0, 1.0
    method = OAAT(beta=1.5, beta_final=3.0, mixing=0.2, largest=largest / 8)
    method.epochs = epochs
    for number in range(1, epochs + 1):
        if number > epochs // 4:
            ball = number * largest / epochs
        late = 0.0
        if ball > turns_from:
            share -= 0.2 / (epochs - int(3 * epochs / 4) + 1)
            late = (number - int(3 * epochs / 4)) / (epochs - int(3 * epochs / 4))
        method.begin_epoch(nn.Identity(), number - 1, BATCH)
        assert (method.at.grown is None) == (number <= epochs // 4)
        assert 8 * method.radius == pytest.approx(ball)
        assert method.at.late == pytest.approx(late)
        assert method.weight == pytest.approx(1.5 + (3 - 1.5) * late)
        assert 1 - 0.2 * method.at.mixed == pytest.approx(share)


@pytest.mark.parametrize("epochs", [1, 2, 3, 4])
def test_short_runs_end_with_the_whole_ball(epochs: int) -> None:
    assert schedule(epochs - 1, epochs)[:2] == (1.0, 1.0)


def test_mixture_in_plain_loops() -> None:
    first, second = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for share in (1.0, 0.3):
        for a, b, found in zip(first.tolist(), second.tolist(), mixture(first, second, share).tolist(), strict=True):
            p, q, mixed = ([math.exp(v) / sum(map(math.exp, row)) for v in row] for row in (a, b, found))
            assert mixed == pytest.approx([share * x + (1 - share) * y for x, y in zip(p, q, strict=True)])


def test_perceptual_distance_in_plain_loops() -> None:
    torch.manual_seed(0)
    network = SmallCNN(5, 1, width=2)
    perceptual = Perceptual(network, ["features.2", "features.5"]).train()
    assert not any(module.training for module in perceptual.modules())
    found = (perceptual(IMAGES) - perceptual(1 - IMAGES)).norm(dim=1)
    rows = [[], []]
    for row, images in zip(rows, (IMAGES, 1 - IMAGES), strict=True):
        for last in (3, 6):
            output = network.features[:last](images)
            places = output.shape[2] * output.shape[3]
            row.append((output / (output.square().sum(1, keepdim=True).sqrt() + 1e-10) / places**0.5).flatten(1))
    expected = sum((a - b).square().sum(1) for a, b in zip(*rows, strict=True)).sqrt()
    torch.testing.assert_close(found, expected)


def test_every_quarter_keeps_to_its_ball_and_the_last_takes_turns() -> None:
    method, model = bound(attack=PGD(steps=4))
    method.epochs = 8
    for epoch, ball, kinds in (
        (0, 0.5, [", half the attack"] * 2),
        (4, 1.25, [""] * 2),
        (7, 2.0, [", wide", ", perceptual"]),
    ):
        method.after_update(model)
        method.begin_epoch(model, epoch, BATCH)
        for kind in kinds:
            assert method.step_kind == kind
            perturbed = method.perturb(model, BATCH)
            reached = [
                (images - IMAGES).abs().max().item()
                for images in (perturbed.images, perturbed.far)
                if images is not None
            ]
            assert reached == pytest.approx([ball * EPS, 3 * EPS] if kind == ", wide" else [ball * EPS])


def test_a_heavier_perceptual_distance_gives_images_that_look_less_changed() -> None:
    distances, losses = [], []
    for weight in (0.0, 100.0):
        method, model = bound(lpips=weight)
        method.perturb(model, BATCH)
        images = method.perturb(model, BATCH).images
        assert method.perceptual is not None
        distances.append((method.perceptual(images) - method.perceptual(IMAGES)).norm(dim=1).mean().item())
        with torch.no_grad():
            losses.append(nn.functional.cross_entropy(model.eval()(images), BATCH.labels).item())
    assert distances[1] < 0.6 * distances[0]
    assert losses[1] < losses[0]


def test_the_average_is_the_network_in_the_first_epoch_and_is_looked_through_from_the_next() -> None:
    method, model = bound(decay=0.75)
    assert method.average is not None
    assert method.perceptual is not None
    values = []
    for epoch, value in ((0, 1.0), (0, 2.0), (1, 4.0), (1, 8.0)):
        if epoch == 1 and value == 4.0:
            method.begin_epoch(model, 1, BATCH)
        elif value == 1.0:
            method.begin_epoch(model, 0, BATCH)
        for tensor in (model.fc.bias, model.features[1].running_mean):
            tensor.data.fill_(value)
        method.after_update(model)
        networks = (method.average, method.perceptual.network)
        values.append([(each.fc.bias[0].item(), each.features[1].running_mean[0].item()) for each in networks][:2])
    assert [average for average, _ in values] == [(1.0, 1.0), (2.0, 2.0), (2.5, 2.5), (3.875, 3.875)]
    assert [looked for _, looked in values][2:] == [(2.0, 2.0)] * 2


def test_a_loop_that_tells_of_no_updates_is_refused() -> None:
    method, model = bound(attack=PGD(steps=1))
    method.begin_epoch(model, 0, BATCH)
    method(model, BATCH)
    with pytest.raises(InputError, match=r"call step\.after_update\(\)"):
        method.begin_epoch(model, 1, BATCH)


def test_a_run_counts_the_cost_of_every_kind_of_step(tmp_path: Path) -> None:
    images = Digits().load("train")
    asked = {"device": "cpu", "epochs": 4, "train_images": 30, "val_images": 20, "batch_size": 10, "trackers": []}
    settings = {**DEFAULTS, **asked, "method": OAAT(attack=PGD(steps=4)), "model": SmallCNN(10, 1, width=4)}
    trainer = ready(RunFolder(tmp_path / "run"), with_data_facts(settings, images), images)
    costs = []
    for _ in range(4):
        trainer.begin_epoch()
        for number, batch in enumerate(trainer.train, 1):
            trainer.train_on(batch, last=number == 3)
            costs.append(trainer.at.flops - sum(costs[-number + 1 :] if number > 1 else []))
        trainer.at.end_epoch({}, 0.0, always=False)
    half, whole, (wide, perceptual, again) = costs[:3], costs[3:9], costs[9:]
    assert len({*half}) == len({*whole}) == 1
    assert half[0] < whole[0] < wide < perceptual
    assert again == wide
    assert trainer.meter.spent == sum(costs)
