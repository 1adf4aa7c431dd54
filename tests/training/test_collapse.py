"""Catastrophic overfitting: a method that collapses on colour images, and the guard that keeps it from it."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from toughen import train
from toughen.attacks import FGSM, GradientAttack
from toughen.batch import Batch
from toughen.commands.trainings.trained import Trained
from toughen.data import Augment
from toughen.errors import ToughenWarning
from toughen.hardware.speed import FlopCounter
from toughen.methods import ARR, FGSMPGI, FGSMPGK, FGSMRS, NFGSM, Method, RegMix, Standard
from toughen.models import SmallCNN
from toughen.threat import ThreatModel
from toughen.training import SGD, Guards, OneCycle
from toughen.training.guards.collapse import Cure, collapsed, spread
from toughen.training.guards.events import read_events
from toughen.training.log import read_rows
from toughen.training.validation import Validation, validate

from .photographs import Photographs, strided


def figures(pgd: float, fgsm: float | None, images: int = 128) -> Validation:
    return Validation(clean=0.8, pgd=pgd, finite=True, fgsm=fgsm, images=images)


@pytest.mark.parametrize(
    ("pgd", "fgsm", "best", "images", "expected"),
    [
        (0.00, 0.60, 0.40, 128, True),
        (0.10, 0.60, 0.40, 128, True),
        (0.25, 0.60, 0.40, 128, False),  # more than half of the best is left
        (0.05, 0.06, 0.40, 128, False),  # FGSM fell with it: the network forgot, or the learning rate is too high
        (0.02, 0.30, 0.05, 128, False),  # it never was better, beyond chance
        (0.10, 0.60, 0.40, 8, False),  # too few images to tell
        (0.00, None, 0.40, 128, False),
    ],
)
def test_a_collapse_is_told_from_what_looks_like_one(
    pgd: float, fgsm: float | None, best: float, images: int, expected: bool
) -> None:
    assert collapsed(figures(pgd, fgsm, images), best) is expected


def test_images_of_a_look_are_spread_over_all() -> None:
    batches = [Batch(torch.rand(5, 1, 4, 4), torch.full((5,), number)) for number in range(4)]
    assert spread(batches, 4).labels.tolist() == [0, 1, 2, 3]
    assert len(spread(batches, 100)) == 20


@pytest.mark.parametrize("method", [FGSMRS(), NFGSM(), FGSMPGI(), FGSMPGK(), RegMix(), ARR(attack=FGSM())], ids=str)
def test_the_cure_gives_every_single_step_method_a_larger_start_and_then_more_steps(method: Method) -> None:
    threat, batch = ThreatModel("linf", 0.05), Batch(torch.full((6, 1, 8, 8), 0.5), torch.arange(6), torch.arange(6))
    method.under(threat, torch.Generator().manual_seed(0))
    method.allocate_memory(6, (1, 8, 8))
    method.begin_epoch(model := SmallCNN(in_channels=1, width=4), 0, batch)
    cure, reach = Cure(method), []
    assert cure.possible and cure.batch(batch) is batch
    usual = method.attack
    assert isinstance(usual, GradientAttack)
    for level, steps in enumerate((1, 1, 2, 4)):
        method.attack, cure.level = usual, level
        cure.set_attack()
        assert method.attack.steps == steps
        reach.append((method.perturb(model, cure.batch(batch)).images - 0.5).abs().max().item())
    assert reach[0] < reach[1] and all(0.05 < each <= 0.1 + 0.3 for each in reach[1:])
    assert not Cure(Standard()).possible


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[Validation]:
    """What looks within an epoch find from now on, the last of them for ever."""
    script = [figures(0.4, 0.5), figures(0.0, 0.5), figures(0.4, 0.5)]
    seen = iter(script[:-1])
    monkeypatch.setattr("toughen.training.guards.watch.validate", lambda *given, **named: next(seen, script[-1]))
    return script


SMALL: dict[str, Any] = {
    "epochs": 2,
    "budget": "none",
    "trackers": [],
    "device": "cpu",
    "batch_size": 20,
    "train_images": 200,
    "val_images": 40,
    "model": partial(SmallCNN, width=4),
    "method": FGSMRS(),
    "guards": Guards(check_every=3),
}


def test_a_collapse_within_an_epoch_is_found_by_the_next_look_and_rolled_back(
    scripted: list[Validation], tmp_path: Path
) -> None:
    with pytest.warns(ToughenWarning, match=r"PGD accuracy 0.0% after 40.0%, FGSM 50.0%; back at step 4, .* 2 eps"):
        train(**SMALL, checkpoint_every=4, out=str(tmp_path / "a"))
    (event,) = json.loads((tmp_path / "a" / "events.json").read_text())
    assert (event["guard"], event["epoch"], event["step"], event["rolled_back"]) == ("collapse", 1, 6, True)
    assert len(read_rows(tmp_path / "a" / "metrics.csv")) == 2


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
def test_a_collapse_that_comes_back_ends_the_training_with_the_good_checkpoint(
    scripted: list[Validation], tmp_path: Path
) -> None:
    scripted[-1] = scripted[1]
    out = str(tmp_path / "a")
    trained = train(**{**SMALL, "guards": Guards(check_every=3, rollbacks=2)}, out=out)
    events = json.loads(trained.folder.events.read_text())
    assert [event["rolled_back"] for event in events] == [True, True, False]
    assert events[-1]["done"] == "the training ended with step 0"
    assert all(weight.isfinite().all() for weight in trained.model.parameters())
    train(resume=out)  # there is nothing to go on with
    assert json.loads(trained.folder.events.read_text()) == events


SETTINGS: dict[str, Any] = {
    "data": Photographs(3100, classes=6),
    "augment": Augment(crop=0, flip=False),
    "model": strided,
    "method": NFGSM(k=0.25),  # an eighth of the noise that it is published with
    "threat": ThreatModel("linf", "64/255"),
    "batch_size": 64,
    "optimizer": partial(SGD, lr=0.3, weight_decay=0.0),
    "schedule": OneCycle(peak=0.6),
    "val_images": 100,
    "epochs": 26,
    "budget": "none",
    "trackers": [],
    "device": "cpu",
    "workers": 0,
}


def trained(guards: Guards | None, out: Path) -> tuple[Trained, float]:
    """A run with the weights of its last epoch, and its floating-point operations, those of its checks among them."""
    with FlopCounter() as counter:
        run = train(**SETTINGS, guards=guards, select="last", out=str(out))
    return run, counter.flops


def on_test_images(run: Trained) -> Validation:
    images, labels = SETTINGS["data"].load("test").subset(torch.arange(120))
    return validate(run.model, [Batch(images, labels)], SETTINGS["threat"], fgsm=True)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
def test_a_method_that_collapses_on_colour_images_is_kept_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toughen.training.cost.matmul_peak", lambda *given: 1.0)  # no work of the run's
    free, usual = trained(None, tmp_path / "free")
    found = on_test_images(free)
    assert found.fgsm is not None and found.pgd < 1 / 6 < 0.25 < found.fgsm  # it does collapse: worse than chance
    guarded, cost = trained(Guards(check_every=400), tmp_path / "guarded")
    events = [event for event in read_events(guarded.folder.events) if event.guard == "collapse"]
    assert events and all(event.rolled_back for event in events)
    pgd = [row["val_pgd"] for row in read_rows(guarded.folder.metrics)]
    assert pgd[-1] > max(pgd[: events[0].epoch - 1]) - 0.03
    assert cost < 1.3 * usual  # 1.23 with two rollbacks, of which the second doubles the attack's steps
