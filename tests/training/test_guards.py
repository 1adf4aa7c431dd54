"""Guards of a run: NaN and infinity are found before they are saved, and rolled back; a healthy run is the same."""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from toughen import train
from toughen.attacks import PGD
from toughen.data import Augment
from toughen.errors import DivergedError, RunError, ToughenWarning
from toughen.methods import FGSMRS, PGDAT, Method, Standard
from toughen.models import SmallCNN
from toughen.run import RunFolder
from toughen.threat import ThreatModel
from toughen.training import EMA, SGD, Constant, Guards
from toughen.training.checkpoint import load_state
from toughen.training.guards.events import read_events
from toughen.training.log import read_rows

SMALL: dict[str, Any] = {
    "epochs": 3,
    "budget": "none",
    "trackers": [],
    "device": "cpu",
    "batch_size": 50,
    "train_images": 200,
    "val_images": 40,
    "log_every": 2,
    "model": partial(SmallCNN, width=4),
}


def state_of(run: Path) -> dict[str, Any]:
    """All that a checkpoint holds of a run but what depends on the clock."""
    state = load_state(run / "checkpoints" / "last")
    rows = [{name: x for name, x in row.items() if name.startswith(("loss", "lr", "val_"))} for row in state["rows"]]
    return {**{name: value for name, value in state.items() if name not in ("cost", "seconds")}, "rows": rows}


def assert_same(first: Any, second: Any) -> None:
    if isinstance(first, dict):
        assert list(first) == list(second)
        for name in first:
            assert_same(first[name], second[name])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif isinstance(first, Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


def without_watch(state: dict[str, Any]) -> dict[str, Any]:
    """All but what the guards keep and measure for themselves."""
    rows = [{name: x for name, x in row.items() if name != "val_fgsm"} for row in state["rows"]]
    return {**{name: value for name, value in state.items() if name not in ("watch", "begun")}, "rows": rows}


@pytest.mark.parametrize("method", [FGSMRS(), Standard()], ids=["FGSMRS", "Standard"])
def test_a_healthy_run_is_the_same_with_guards_and_without(method: Method, tmp_path: Path) -> None:
    for name, guards in (("with", Guards(check_every=3)), ("without", None)):
        train(**SMALL, method=method, guards=guards, average=EMA(), out=str(tmp_path / name), checkpoint_every=3)
    guarded, free = (state_of(tmp_path / name) for name in ("with", "without"))
    assert_same(without_watch(guarded), without_watch(free))
    assert not (tmp_path / "with" / "events.json").exists()
    files = [tmp_path / name / "model.safetensors" for name in ("with", "without")]
    assert files[0].read_bytes() == files[1].read_bytes()


class BurstingSGD(SGD):
    """An optimiser that spoils the weights at one step while its learning rate is above a limit."""

    def __init__(self, params: Any, lr: float = 0.1, at: int = 6, limit: float = 0.03, value: float = 1e37) -> None:
        super().__init__(params, lr)
        self.at, self.limit, self.value = at, limit, value

    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        for group in self.param_groups:
            for weight in group["params"]:
                made = self.state[weight].setdefault("made", 0) + 1
                self.state[weight]["made"] = made
                if made == self.at and group["lr"] > self.limit:
                    weight.data.fill_(self.value)
        return result


def run(out: Path, **settings: Any) -> None:
    train(**{**SMALL, "method": Standard(), "schedule": Constant(), **settings}, out=str(out))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e37])
def test_spoilt_weights_are_rolled_back_with_a_lower_rate_each_time(value: float, tmp_path: Path) -> None:
    with pytest.warns(ToughenWarning, match="rollback") as warned:
        run(tmp_path / "a", optimizer=partial(BurstingSGD, value=value))
    told = [str(each.message) for each in warned if "rollback" in str(each.message)]
    assert [text.split("(")[-1] for text in told] == ["rollback 1 of 3)", "rollback 2 of 3)"]
    assert all("back at step 4" in text for text in told)
    assert [row["lr"] for row in read_rows(tmp_path / "a" / "metrics.csv")] == pytest.approx([0.1, 0.025, 0.025])
    assert all(weight.isfinite().all() for weight in load_file(tmp_path / "a" / "model.safetensors").values())


def test_a_run_that_goes_wrong_every_time_ends_with_its_good_checkpoint(tmp_path: Path) -> None:
    with pytest.warns(ToughenWarning), pytest.raises(DivergedError, match="is kept"):
        run(tmp_path / "a", optimizer=partial(BurstingSGD, limit=0.0))
    state = load_state(tmp_path / "a" / "checkpoints" / "last")
    assert (state["epoch"], state["batch"]) == (1, 0)
    assert all(weight.isfinite().all() for weight in state["model"].values())


def test_without_the_guard_spoilt_weights_are_saved(tmp_path: Path) -> None:
    """What the guard is for."""
    spoilt = partial(BurstingSGD, at=12, limit=0.0)  # the last step
    run(tmp_path / "a", optimizer=spoilt, select="last", guards=Guards(finite=False))
    assert any((weight.abs() > 1e30).any() for weight in load_file(tmp_path / "a" / "model.safetensors").values())


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
def test_a_run_that_rolled_back_goes_on_after_a_kill_as_if_nothing_was(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class Kills:
        def __init__(self, at: int) -> None:
            self.at, self.seen = at, 0

        def __getattr__(self, name: str) -> Any:
            def stepped(*values: Any) -> None:
                if name == "stepped":
                    self.seen += 1
                    if self.seen == self.at:
                        raise Killed

            return stepped

    optimizer = partial(BurstingSGD, value=1e37)
    run(tmp_path / "whole", optimizer=optimizer)
    for at in (5, 6, 7, 9, 11):
        with pytest.raises(Killed):
            run(tmp_path / str(at), optimizer=optimizer, observer=Kills(at))
        train(resume=str(tmp_path / str(at)), trust=[f"{__name__}.BurstingSGD"])
        assert_same(state_of(tmp_path / str(at)), state_of(tmp_path / "whole"))
        events = [RunFolder(tmp_path / name).events.read_text() for name in (str(at), "whole")]
        assert events[0] == events[1]


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"guard": 1}]', "\x00", "3"])
def test_a_damaged_record_of_events_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text(content)
    with pytest.raises(RunError, match=r"cannot read .*events\.json"):
        read_events(path)


@pytest.mark.nightly
def test_robust_overfitting_is_said_once_and_the_best_is_kept(tmp_path: Path) -> None:
    """A hundred training images and a rate that stays: the network learns them by heart."""
    settings = {"epochs": 60, "train_images": 100, "val_images": 600, "batch_size": 25, "budget": "none"}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trained = train(
            method=PGDAT(PGD(steps=2)),
            threat=ThreatModel("linf", 0.15),
            schedule=Constant(),
            augment=Augment(crop=0, flip=False),
            trackers=[],
            out=str(tmp_path / "run"),
            **settings,
        )
    texts = [str(each.message) for each in said if "robust overfitting" in str(each.message)]
    rows = read_rows(trained.folder.metrics)
    best = max(rows, key=lambda row: row["val_pgd"])
    assert rows[-1]["val_pgd"] < best["val_pgd"], "what the guard is for happens"
    assert len(texts) == 1
    assert [event.guard for event in read_events(trained.folder.events)] == ["overfitting"]
