"""A sweep's trials are runs, chosen by held-out images alone."""

import json
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml
from safetensors.torch import load_file

from toughen.commands.studies.trial import OUTCOME
from toughen.commands.sweep import sweep
from toughen.commands.train import train
from toughen.data import Digits, ImageSet, Split
from toughen.errors import InputError, RunError
from toughen.methods import TRADES
from toughen.models import SmallCNN
from toughen.threat import ThreatModel
from toughen.training import SGD, Interrupted, Silent

TINY = {
    "model": partial(SmallCNN, width=4),
    "threat": ThreatModel("linf", 0.03),
    "epochs": 2,
    "train_images": 200,
    "trackers": [],
    "workers": 0,
    "budget": "quick",
    "test_images": 20,
}
VARY = {"method.beta": [1, 6], "optimizer.lr": {"low": 0.05, "high": 0.2, "step": 0.15}}


class Watched(Digits):
    """Digits that remember which splits were read."""

    read: ClassVar[list[str]] = []

    def load(self, split: Split) -> ImageSet:
        self.read.append(split)
        return super().load(split)


class Stopping(Silent):
    """Stops the process, as a signal would, at a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def stepped(self, step: int) -> None:
        self.at -= 1
        if self.at == 0:
            raise Interrupted("stopped")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A grid of four, stopped in its second trial and gone on with."""
    folder = tmp_path_factory.mktemp("sweep") / "grid"
    settings = {**TINY, "vary": VARY, "search": "grid", "out": str(folder), "data": Watched()}
    Watched.read.clear()
    with pytest.raises(Interrupted, match="stopped in trial 1, whose run is saved; the same command goes on"):
        sweep(**settings, observer=Stopping(6))
    seen = list(Watched.read)
    said: list[str] = []
    found = sweep(**settings, said=said.append)
    return found, said, [*seen, *Watched.read]


def test_each_trial_is_a_run_of_its_own_values(done: Any) -> None:
    found, said, _ = done
    record = found.record
    assert record.counts() == "4 of 4 trials: 4 complete"
    assert [line.partition(":")[0] for line in said if " of 4" in line] == [f"trial {n} of 4" for n in (1, 2, 3)]
    for trial in record.trials:
        run = record.place(trial)
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert config["method"]["init_args"]["beta"] == trial.values["method.beta"]
        assert config["optimizer"]["init_args"]["lr"] == trial.values["optimizer.lr"]
        assert json.loads((run / OUTCOME).read_text())["state"] == "complete"
    assert sorted(tuple(each.values.values()) for each in record.trials) == [(1, 0.05), (1, 0.2), (6, 0.05), (6, 0.2)]


def test_the_test_set_is_read_for_the_best_alone_once_all_have_ended(done: Any) -> None:
    found, _, read = done
    best = found.record.best
    assert best.robust == max(each.robust for each in found.record.trials)
    assert list(found.evaluations) == [best.number]
    assert read.index("test") == len(read) - 1
    evaluated = [each.number for each in found.record.trials if (found.record.place(each) / "result.json").exists()]
    assert evaluated == [best.number]


def test_the_stopped_trial_is_the_run_that_the_command_makes(done: Any, tmp_path: Path) -> None:
    """Trial 1 was stopped and gone on with; a training of its configuration ends with the same weights."""
    run = done[0].record.place(done[0].record.trials[1])
    settings = {**TINY, "data": Watched(), "budget": "none"}
    plain = train(**settings, method=TRADES(beta=1), optimizer=partial(SGD, lr=0.2), out=str(tmp_path / "a"))
    weights, own = load_file(plain.folder.model), load_file(run / "model.safetensors")
    assert all(torch.equal(weights[name], own[name]) for name in own)
    assert "toughen train --config" in done[0].record.command and "--budget quick" in done[0].record.command


def test_the_page_shows_trials_and_command(done: Any) -> None:
    page = done[0].page.read_text()
    assert done[0].record.command in page
    assert all(f'<td class="number">{each.values["optimizer.lr"]}</td>' in page for each in done[0].record.trials)
    assert "is not finished" not in page


def test_more_trials_go_on_with_a_sweep_and_other_settings_do_not(tmp_path: Path) -> None:
    settings = {**TINY, "vary": {"optimizer.lr": {"low": 0.05, "high": 0.2}}, "epochs": 1, "budget": "none"}
    sweep(**settings, trials=1, search="random", out=str(tmp_path / "s"))
    found = sweep(**settings, trials=2, search="random", out=str(tmp_path / "s"))
    assert [each.state for each in found.record.trials] == ["complete", "complete"]
    with pytest.raises(InputError, match="epochs: 1, now 3"):
        sweep(**{**settings, "epochs": 3}, search="random", out=str(tmp_path / "s"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(RunError, match="holds no sweep"):
        sweep(**settings, out=str(tmp_path / "other"))


def test_a_trial_that_falls_behind_says_so_in_its_folder(tmp_path: Path) -> None:
    settings = {
        **TINY,
        "epochs": 3,
        "budget": "none",
        "vary": {"optimizer.lr": [0.2, 0.21, 0.22, 1e-6]},
    }
    found = sweep(**settings, search="grid", prune=True, out=str(tmp_path / "s"))
    assert [each.state for each in found.record.trials] == ["complete"] * 3 + ["pruned"]
    run = found.record.place(found.record.trials[3])
    outcome = json.loads((run / OUTCOME).read_text())
    assert (outcome["state"], outcome["epoch"]) == ("pruned", 2)
    assert train(resume=str(run)).folder.model.exists()  # it can still be gone on with


def test_a_trial_that_diverges_is_an_outcome_and_three_of_them_end_the_sweep(tmp_path: Path) -> None:
    settings = {
        **TINY,
        "vary": {"optimizer.lr": [1e30, 1e31, 1e32, 0.1]},
        "search": "grid",
        "guards": None,
        "fast": False,
    }
    with pytest.raises(RunError, match=r"all 3 trials failed, the last one so: .*NaN or infinite"):
        sweep(**settings, out=str(tmp_path / "s"))
    outcome = json.loads((tmp_path / "s" / "trials" / "001" / OUTCOME).read_text())
    assert outcome["state"] == "failed" and "NaN or infinite" in outcome["reason"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"vary": {"method.bta": [1]}}, "method.bta: unknown setting of TRADES; did you mean 'beta'"),
        ({"vary": {"metod.beta": [1]}}, "vary: unknown setting 'metod.beta'; did you mean 'method'"),
        ({"vary": {"method.beta": ["much"]}}, "method.beta: expected a float, got 'much'"),
        ({"vary": {"method": ["TRADES", "evil.Thing"]}}, "would run evil.Thing"),
        ({"vary": {"batch_size": [128, 0]}}, "--batch_size: expected"),
        ({"vary": {"seed": [0, 1]}}, "seed cannot vary, as the luckiest seed would win"),
        ({"vary": {"threat.eps": [0.1]}}, "threat.eps cannot vary, as trials would be judged by other attacks"),
        ({"vary": {"val_images": [10]}}, "other held-out images"),
        ({"vary": {"epochs": [1]}, "search": "annealing"}, "search: expected one of tpe, random, grid, nsga2"),
        ({"vary": {"epochs": [1]}, "trials": 0}, "trials: expected"),
        ({"vary": {"epochs": [1]}, "search": "nsga2", "prune": True}, "nsga2 has two objectives"),
        ({"vary": {"epochs": [1]}, "epoch": 3}, "unknown setting 'epoch'; did you mean 'epochs'"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_trial(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        sweep(**{**TINY, **settings}, out=str(tmp_path / "s"))
    assert not (tmp_path / "s").exists()
