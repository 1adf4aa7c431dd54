"""A study's runs are what its file says, its page and JSON are what their verdicts say, and it goes on."""

import json
import shlex
import shutil
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy
import yaml

from toughen import catalog
from toughen.cli.parser import Parser
from toughen.commands.studies.claims import claims_of
from toughen.commands.studies.plan import CHOOSING_SEED, plan_of
from toughen.commands.studies.state import StudyState, Task
from toughen.commands.study import Study, study
from toughen.commands.train import DEFAULTS, train
from toughen.errors import InputError, RunError
from toughen.models import SmallCNN
from toughen.settings.description import describe
from toughen.training import Interrupted, Silent

ROWS: dict[str, Any] = {
    "Standard": "Standard",
    "FGSM-RS": {"method": "FGSMRS", "epochs": 3},
    "wild": {"method": "Standard", "optimizer.lr": 1e30, "guards": None},
}
DATA = {"digits": {"data": "digits", "threat.eps": 0.03, "batch_size": 32}}
CLAIMS = [
    {"claim": "more robust", "source": "a paper", "row": "FGSM-RS", "over": "Standard"},
    {"claim": "calm", "source": "nobody", "row": "wild", "over": "Standard", "measure": "clean", "data": "digits"},
]
SMALL: dict[str, Any] = {
    "model": partial(SmallCNN, width=4),
    "epochs": 1,
    "train_images": 384,
    "val_images": 20,
    "test_images": 40,
    "trackers": [],
    "workers": 0,
    "budget": "quick",
    "seeds": [0, 1],
}


def shared_of(settings: dict[str, Any]) -> dict[str, Any]:
    """What the runs of a study share, complete."""
    return {**DEFAULTS, **{name: value for name, value in settings.items() if name in DEFAULTS and name != "seeds"}}


class Stopping(Silent):
    """Stops the process, as a signal would, at a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def stepped(self, step: int) -> None:
        self.at -= 1
        if self.at == 0:
            raise Interrupted("stopped")


def held(run: Path) -> np.ndarray:
    """Whether each image held against everything, counted from the columns of the file."""
    table = pq.read_table(next(run.glob("evaluations/quick-*/verdicts.parquet"))).sort_by("index")
    names = [name for name in table.column_names if table.schema.field(name).type == "bool"]
    return np.logical_and.reduce([table[name].to_numpy() for name in names])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, dict[str, Any], list[str]]:
    """A study that was stopped in its second run and gone on with, with its JSON."""
    out = str(tmp_path_factory.mktemp("study") / "s")
    with pytest.raises(Interrupted, match="stopped in FGSM-RS on digits, seed 0, which is saved; the same command"):
        study(ROWS, DATA, **SMALL, out=out, observer=Stopping(15))
    said: list[str] = []
    settings = {**SMALL, "claims": CLAIMS, "command": "toughen study s.yaml --out s"}
    found = study(ROWS, DATA, **settings, out=out, said=said.append)
    return found, json.loads(found.results.read_text())["data"]["digits"], said


def test_every_row_has_a_run_a_seed_and_goes_on_where_it_was_stopped(done: Any) -> None:
    found, _, said = done
    assert "Standard on digits, seed 0" not in said  # it was there
    for row in ("Standard", "FGSM-RS"):
        for seed in (0, 1):
            config = yaml.safe_load((found.record.folder / f"runs/digits/{row}/seed{seed}/config.yaml").read_text())
            assert (config["seed"], config["threat"]["eps"], config["batch_size"]) == (seed, 0.03, 32)
            assert config["epochs"] == {"Standard": 1, "FGSM-RS": 3}[row]


def test_a_run_that_fails_says_why_and_stops_no_other(done: Any) -> None:
    found, results, _ = done
    assert "NaN or infinite" in results["rows"]["wild"]["failed"]["0"]
    assert results["rows"]["wild"]["state"].startswith("failed: ")
    assert "wild: failed: " in found.page.read_text()
    assert "Not whole: wild." in results["answers"]["How sure is this?"]


def test_the_figures_are_those_of_the_verdict_files(done: Any) -> None:
    found, results, _ = done
    (level,) = results["levels"]
    verdicts = {
        row: [held(found.record.folder / f"runs/digits/{row}/seed{seed}") for seed in (0, 1)] for row in level["rows"]
    }
    assert set(verdicts) == {"Standard", "FGSM-RS"}
    for row, of in verdicts.items():
        robust = level["rows"][row]["robust"]
        assert robust["values"] == [each.mean() for each in of]
        assert robust["mean"] == pytest.approx(np.mean(of))
        intervals = [scipy.stats.binomtest(int(each.sum()), 40).proportion_ci(method="wilson") for each in of]
        assert robust["images"] == pytest.approx([mean(e.low for e in intervals), mean(e.high for e in intervals)])
        spread = scipy.stats.t.interval(0.95, 1, np.mean(of), scipy.stats.sem([each.mean() for each in of]))
        assert robust["seeds"]["interval"] == pytest.approx(np.clip(spread, 0, 1))
    best = max(verdicts, key=lambda row: float(np.mean(verdicts[row])))
    assert level["best"] == best
    (test,) = level["tests"]["to_best"]
    other, top = (np.array(verdicts[name]) for name in (test["first"], best))
    assert test["images"]["difference"] == pytest.approx(other.mean() - top.mean())
    welch = scipy.stats.ttest_ind(other.mean(1), top.mean(1), equal_var=False)
    assert test["p_seeds"] == pytest.approx(welch.pvalue)


def test_the_cost_is_that_of_metrics_csv(done: Any) -> None:
    found, results, _ = done
    runs = [found.record.folder / f"runs/digits/FGSM-RS/seed{seed}/metrics.csv" for seed in (0, 1)]
    tables = [np.genfromtxt(run, delimiter=",", names=True) for run in runs]
    cost = results["levels"][0]["rows"]["FGSM-RS"]["cost"]
    assert cost["flops"] == pytest.approx(np.mean([table["flops"][-1] for table in tables]))
    assert cost["seconds"] == pytest.approx(np.mean([table["seconds"].sum() for table in tables]))
    assert cost["passes"] == [2, 2]


def test_claims_that_were_added_later_are_answered(done: Any) -> None:
    found, results, _ = done
    robust, clean = results["claims"]
    values = [results["levels"][0]["rows"][row]["robust"]["mean"] for row in ("FGSM-RS", "Standard")]
    assert robust["test"]["difference"] == pytest.approx(values[0] - values[1])
    assert robust["answer"].startswith(("confirmed", "not confirmed: "))
    assert clean["answer"].startswith("not run: wild failed: ") and clean["test"] is None
    assert robust["answer"] in found.page.read_text()


def test_the_page_answers_first_in_the_figures_words(done: Any) -> None:
    found, results, _ = done
    page = found.page.read_text()
    best = results["levels"][0]["best"]
    assert page.index("Which is most robust?") < page.index("<table>")
    assert f"{best}, with {100 * results['levels'][0]['rows'][best]['robust']['mean']:.1f} %" in page
    assert "toughen study s.yaml --out s --only FGSM-RS" in page


def test_a_rows_command_asks_for_its_run(done: Any) -> None:
    found, results, _ = done
    words = shlex.split(results["rows"]["FGSM-RS"]["commands"]["run"])
    assert words[:2] == ["toughen", "train"]
    request = Parser(train, skip=["observer", "progress"]).parse(words[2:])
    assert request is not None
    config = yaml.safe_load((found.record.folder / "runs/digits/FGSM-RS/seed0/config.yaml").read_text())
    asked = describe({name: request.settings[name] for name in ("method", "threat", "epochs", "batch_size", "seed")})
    assert asked == {name: config[name] for name in asked}
    assert request.settings["model"].keywords["width"] == 4


def test_the_page_is_made_anew_without_training_and_incomplete_rows_say_so(done: Any) -> None:
    found = done[0]
    before = found.results.read_text()
    for file in (found.page, found.results):
        file.unlink()
    settings = {**SMALL, "claims": CLAIMS, "observer": Stopping(1), "command": "toughen study s.yaml --out s"}
    again = study(ROWS, DATA, **settings, out=str(found.record.folder))
    assert again.results.read_text() == before
    more = study({**ROWS, "TRADES": "TRADES"}, DATA, **settings, only=["Standard"], out=str(found.record.folder))
    assert json.loads(more.results.read_text())["data"]["digits"]["rows"]["TRADES"]["state"] == "not run"
    with pytest.raises(InputError, match="begun with other settings:\n  rows.FGSM-RS.epochs: 3, now 4"):
        study({**ROWS, "FGSM-RS": {"method": "FGSMRS", "epochs": 4}}, DATA, **SMALL, out=str(found.record.folder))


@pytest.mark.nightly  # a search, three rows, two evaluations each
def test_rows_choose_on_held_out_images_need_others_and_are_confirmed(tmp_path: Path) -> None:
    rows = {
        "HAT": {"method": "HAT", "needs": {"method.standard": "Standard"}, "choose": {"method.beta": [1, 2.5]}},
        "Standard": "Standard",
        "TRADES": {"method": "TRADES", "choose": {"method.beta": [1, 6]}},
    }
    settings = {**SMALL, "confirm": {"budget": "fast", "best": 2}}
    found = study(rows, DATA, **settings, out=str(tmp_path / "s"))
    results = json.loads(found.results.read_text())["data"]["digits"]
    assert [row["state"] for row in results["rows"].values()] == ["complete"] * 3
    for row in ("HAT", "TRADES"):
        tried = results["rows"][row]["chosen"]
        best = max(tried["candidates"], key=lambda each: (each["robust"], each["clean"]))
        assert len(tried["candidates"]) == 2 and tried["values"] == best["values"]
        trials = list(tmp_path.glob(f"s/chosen/digits/{row}/trials/*"))
        seeds = {yaml.safe_load((each / "config.yaml").read_text())["seed"] for each in trials}
        assert seeds == {CHOOSING_SEED} and len(trials) == 2
        assert not any((each / "result.json").exists() for each in trials)  # no test image was looked at
        for seed in (0, 1):
            method = yaml.safe_load((tmp_path / f"s/runs/digits/{row}/seed{seed}/config.yaml").read_text())["method"]
            assert method["init_args"]["beta"] == best["values"]["method.beta"]
            if row == "HAT":
                assert method["init_args"]["standard"] == str(tmp_path / f"s/runs/digits/Standard/seed{seed}")
    first, second = results["levels"]
    assert (first["budget"], second["budget"]) == ("quick", "fast")
    assert set(second["rows"]) == set(list(first["rows"])[:2])
    tables = {row: tmp_path.glob(f"s/runs/digits/{row}/seed*/metrics.csv") for row in first["rows"]}
    flops = {
        row: [np.genfromtxt(f, delimiter=",", names=True)["flops"].item() for f in of] for row, of in tables.items()
    }
    costs = {row: of["cost"]["flops"] for row, of in first["rows"].items()}
    own = {row: np.mean(of) for row, of in flops.items()}
    assert costs == pytest.approx({**own, "HAT": own["HAT"] + own["Standard"]})
    assert "Standard" not in results["answers"]["At a fraction of its cost?"].partition("most robust is")[2]

    plan = plan_of(tmp_path / "s", rows, DATA, [0, 1], shared_of(settings), settings["confirm"], False)
    ((name, other), gone) = list(second["rows"]), tmp_path.glob("s/runs/digits/*/*/evaluations/fast-*")
    for folder in gone:
        shutil.rmtree(folder)
    everything = [task.name for task in StudyState(plan).left()]
    assert sorted(everything) == sorted(f"confirm-digits-{row}-{seed}" for row in (name, other) for seed in (0, 1))
    assert [task.name for task in StudyState(plan, (name,), 1).left()] == [f"confirm-digits-{name}-1"]


def test_what_needs_a_run_that_failed_has_failed_until_that_is_tried_again(tmp_path: Path) -> None:
    rows = {
        "Standard": {"method": "Standard"},
        "HAT": {"method": "HAT", "needs": {"method.standard": "Standard"}, "choose": {"method.beta": [1, 2.5]}},
        "HAT-1": {"method": "HAT", "needs": {"method.standard": "Standard"}},
    }
    state = StudyState(plan_of(tmp_path, rows, DATA, [0, 1], shared_of(SMALL), None, True))
    before = [task.name for task in state.left()]
    state.write_failure(Task("train", "digits", "Standard", 0), "the loss is NaN", "")
    assert [task.name for task in state.left()] == ["train-digits-Standard-1"]
    said = {row: state.row("digits", row).state(0) for row in rows}
    assert said["HAT"] == "failed: it needs Standard, which failed: the loss is NaN"
    assert said["HAT-1"] == "failed: it needs Standard, which failed: the loss is NaN"
    assert not state.failure(Task("train", "digits", "HAT-1", 1))  # it waits for the other seed's
    (file,) = tmp_path.glob("failed/*.json")
    file.unlink()
    assert [task.name for task in state.left()] == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": {}}, "rows: expected one or more"),
        ({"rows": {"A": {"method.beta": 6}}}, "rows.A: expected a method"),
        ({"rows": {"A": {"method": "TRADES", "method.bta": 6}}}, "method.bta: unknown setting of TRADES"),
        ({"rows": {"A": {"method": "TRADES", "epoch": 6}}}, "A on digits: unknown setting 'epoch'; did you mean"),
        ({"rows": {"A": {"method": "os.system"}}}, "would run os.system"),
        ({"rows": {"A": {"method": "TRADES", "seed": 1}}}, "rows.A.seed: it cannot stand here"),
        (
            {"rows": {"A": {"method": "TRADES", "threat.eps": 0.2}}},
            r"rows.A.threat.eps: .* another radius is another data",
        ),
        ({"rows": {"A": {"method": "TRADES", "test_images": 9}}}, "rows.A.test_images: it cannot stand here"),
        ({"sample": "random"}, "sample: random takes other images for each seed"),
        ({"rows": {"A/B": "TRADES"}}, "is to name a folder"),
        ({"rows": {"A": "TRADES", "a": "MART"}}, "differ in case alone"),
        ({"rows": {"A": {"method": "HAT", "needs": {"method.standard": "B"}}}}, "rows.A.needs: expected the name"),
        (
            {"rows": {"A": {"method": "TRADES", "choose": {"method.beta": [1, 6]}}, "B": "MART"}},
            r"different numbers of candidates \(A 2, B 1\)",
        ),
        ({"data": {"digits": {"epochs": 1}}}, "data.digits: expected its source"),
        ({"data": {"digits": {"data": "digits", "method": "MART"}}}, "data.digits.method: it cannot stand here"),
        ({"seeds": [1, 1]}, "seeds: expected different seeds"),
        ({"confirm": {"budget": "quick", "best": 1}}, "confirm.budget: expected another one"),
        ({"confirm": {"best": 1}}, "confirm.budget: expected"),
        ({"only": ["MRT"]}, "only: unknown row 'MRT'"),
        ({"seed": 7}, "seed: expected one of the study's, 0, 1"),
        ({"method": "MART"}, "study: unknown setting 'method'"),
        (
            {"claims": [{"claim": "so", "row": "TRADES", "over": "A"}]},
            r"claims\[0\].source: expected text",
        ),
        ({"claims": [{**CLAIMS[0], "over": "TRDES"}]}, r"claims\[0\].row: unknown 'FGSM-RS'; Known: TRADES"),
        (
            {"claims": [{**CLAIMS[0], "row": "TRADES", "over": "trades"}]},
            "over: unknown 'trades'; did you mean",
        ),
        ({"claims": [{**CLAIMS[0], "row": "TRADES", "over": "TRADES"}]}, "expected another row than TRADES"),
        ({"claims": [{**CLAIMS[0], "meassure": "clean"}]}, "unknown 'meassure'; did you mean 'measure'"),
        ({"claims": [{**CLAIMS[0], "measure": "fast"}]}, "measure: expected one of robust, clean, got 'fast'"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_run(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    given = {"rows": {"TRADES": "TRADES"}, "data": DATA, **SMALL, "out": str(tmp_path / "s"), **changes}
    with pytest.raises(InputError, match=said):
        study(**given)
    assert not (tmp_path / "s").exists()


def test_what_is_left_out_of_the_page_is_said(done: Any) -> None:
    found, _, _ = done
    said: list[str] = []
    rows = {"Standard": "Standard", "wild": ROWS["wild"]}
    study(rows, DATA, **{**SMALL, "seeds": [1]}, out=str(found.record.folder), said=said.append)
    assert "page and results leave out what is here of FGSM-RS, seed 0;" in said[0]
    study(ROWS, DATA, **SMALL, out=str(found.record.folder), said=said.append)
    assert len(said) == 1


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(RunError, match="holds no study"):
        study({"TRADES": "TRADES"}, DATA, **SMALL, out=str(tmp_path))


@pytest.mark.parametrize("name", catalog.studies())
def test_a_shipped_study_is_sound(name: str, tmp_path: Path) -> None:
    from toughen.cli.study import parser

    request = parser().parse([name])
    assert request is not None
    own = ("rows", "data", "seeds", "confirm", "unequal", "claims", "only", "seed", "out", "trust")
    given = request.settings
    shared = {**DEFAULTS, **{key: value for key, value in given.items() if key not in own}}
    plan = plan_of(tmp_path, given["rows"], given["data"], given["seeds"], shared, given["confirm"], given["unequal"])
    assert len(claims_of(given["claims"], plan)) == len(given["claims"])
    methods = {row.values["method"] for row in plan.rows.values()}
    assert {"Standard", "TRADES", "PGDAT"} <= methods
    if name in ("cpu-digits", "gpu-cifar10"):
        assert methods == catalog.classes("methods").keys(), "every method has a row in these two studies"


def test_a_claim_is_the_same_in_all_shipped_studies() -> None:
    said: dict[tuple[str, ...], set[str]] = {}
    for entry in catalog.studies().values():
        for claim in yaml.safe_load(Path(entry.path).read_text())["claims"]:
            tested = (claim["row"], claim["over"], claim.get("measure", "robust"))
            said.setdefault(tested, set()).add(f"{claim['source']}: {claim['claim']}")
    assert len(said) > 14 and all(len(each) == 1 for each in said.values())
