"""A study with everything that its page can show."""

from collections.abc import Callable

from toughen.evaluation.records.evaluations import Evaluations
from toughen.reports.study.record import Candidates, Claim, Confirm, RowRecord, RunRecord, StudyRecord
from toughen.run import RunFolder
from toughen.search.records import TrialRecord

ROWS = ("TRADES", "ARoW+AWP+SWA-with-a-long-name", "FGSM-RS", "Standard")


def study_record(make_run: Callable[..., RunFolder], folder: str) -> StudyRecord:
    """Two data sets: four rows with two seeds, one of them doubted, two confirmed; one that failed, one not run."""
    sets = {"digits": rows_on("digits", make_run, folder), "a-data-set-with-a-long-name": ()}
    place = sets["digits"][0].runs[0].folder.path.parents[3]
    sets["a-data-set-with-a-long-name"] = (RowRecord("TRADES", "", (RunRecord(0, RunFolder(place / "no")),)),)
    claims = (
        Claim("more robust at the same clean accuracy", "A paper of 2026", ROWS[1], "TRADES"),
        Claim("as clean", "Another paper", "TRADES", "Standard", "clean", "digits"),
        Claim("wild", "A preprint", "wild", "TRADES"),
    )
    about = {"seeds": [0, 1]}
    return StudyRecord(
        "study", place, sets, "standard", Confirm("thorough", 2), unequal=True, about=about, claims=claims
    )


def rows_on(data: str, make_run: Callable[..., RunFolder], folder: str) -> tuple[RowRecord, ...]:
    rows = []
    for place, name in enumerate(ROWS):
        runs = []
        for seed in (0, 1):
            run = make_run(f"{folder}/runs/{data}/{name}/seed{seed}", seed=10 * place + seed, strength=1 - 0.1 * place)
            run.write_config(run.read_config() | {"seed": seed})
            kept = Evaluations(run)
            doubt = {"name": "false_gradients", "severity": "doubt", "message": "the gradient is not its own"}
            result = run.read_result() | ({"preflight": [doubt]} if name == "FGSM-RS" else {})
            run.write_result(result)
            kept.take_in()
            if place < 2:
                run.write_result(result | {"budget": "thorough"})
                kept.take_in()
            run.report.write_text("")
            runs.append(RunRecord(seed, run, "", True))
        trials = tuple(TrialRecord(n, "complete", {"method.beta": n}, 0.9, 0.1 * n, 3) for n in range(3))
        there = runs[0].folder.path.parents[3]
        chosen = Candidates(there / "chosen" / data / name, 3, trials) if place < 2 else None
        commands = {
            "run": f"toughen train --epochs 30 --data digits --method {name} --method.beta 6 --seed 0 --out runs/one",
            "row": f"toughen study study.yaml --out runs/study --only {name}",
        }
        rows.append(RowRecord(name, data, tuple(runs), chosen, "", commands, (13, 12)))
    there = rows[0].runs[0].folder.path.parents[1]
    wild = [RunRecord(seed, RunFolder(there / "wild" / f"seed{seed}"), "loss term 'ce' became NaN") for seed in (0, 1)]
    missing = [RunRecord(seed, RunFolder(there / "none" / f"seed{seed}")) for seed in (0, 1)]
    return (*rows, RowRecord("wild", data, tuple(wild)), RowRecord("none", data, tuple(missing)))
