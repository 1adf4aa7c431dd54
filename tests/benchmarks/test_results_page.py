"""The page of results has the figures of the studies' files, and those of the runs' verdicts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_runs import maker
from studied import study_record

import records
from common import RESULTS
from pages import with_tables
from results_page import PAGE, launch, parts_of, take_in
from toughen.evaluation.records.evaluations import Evaluations
from toughen.reports.study.page import write_study


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, Any], Path]:
    """What the page has of a study that is taken in as cpu-digits, beside one that is not run; its JSON and folder."""
    place = tmp_path_factory.mktemp("results")
    study = study_record(maker(place), "study")
    write_study(study)
    file = take_in("cpu-digits", study.folder, place)
    marks = ("study cpu-digits", "answers cpu-digits cpu-fashion", "claims cpu-digits", "study cpu-fashion")
    page = "\n".join(f"<!-- {mark} -->\n<!-- end -->" for mark in marks)
    return parts_of(page, place), json.loads(file.read_text()), study.folder


def cells(text: str, row: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_page_has_what_the_files_have() -> None:
    page = PAGE.read_text()
    parts = parts_of(page, RESULTS)
    assert len(parts) > 5 and with_tables(page, parts) == page


def test_a_row_has_the_figures_of_its_verdicts_and_its_command(parts: Any) -> None:
    found, _, folder = parts
    row = cells(found["study cpu-digits"], "TRADES")
    shares = []
    for file in sorted(folder.glob("runs/digits/TRADES/seed*/evaluations/standard-*/verdicts.parquet")):
        table = pq.read_table(file)
        shares.append(np.logical_and.reduce([table[name].to_numpy() for name in ("clean", "fgsm", "autoattack")]))
    assert len(shares) == 2 and row[1].startswith(f"{100 * np.mean(shares):.1f} % (")
    assert row[-1] == "`toughen study cpu-digits --only TRADES`"
    assert row[-2] == "method.beta 2" and row[-3] == "13 + 12"
    doubted, missing = cells(found["study cpu-digits"], "FGSM-RS"), found["study cpu-digits"]
    assert doubted[1].endswith(", masking suspected")
    assert "| none (not run) |" in missing and "| wild (failed: loss term 'ce' became NaN) |" in missing


def test_claims_and_answers_are_those_of_the_study(parts: Any) -> None:
    found, report, _ = parts
    data = report["data"]["digits"]
    for question, answer in data["answers"].items():
        assert f": {answer}" in found["answers cpu-digits cpu-fashion"], question
    first, place = data["claims"][0], "ARoW+AWP+SWA-with-a-long-name over TRADES, robust"
    assert f"**{first['answer']}**" in cells(found["claims cpu-digits"], place)[2]
    assert "of 3 claims: 2 without a significant difference, 1 not run." in found["claims cpu-digits"]


def test_what_is_not_there_is_not_run_and_no_machine_s_path_goes_along(parts: Any) -> None:
    found, report, folder = parts
    assert found["study cpu-fashion"].strip() == "Not run: `toughen study cpu-fashion`."
    assert found["answers cpu-digits cpu-fashion"].strip().endswith("Not run: `toughen study cpu-fashion`.")
    assert str(folder) not in json.dumps(report) and "runs/study" not in json.dumps(report)
    assert launch("cpu-cifar10") == "toughen study cpu-cifar10 --data.cifar10.data.path FOLDER"
    assert launch("gpu-cifar10") == "toughen study gpu-cifar10"


def test_a_record_has_its_runs_log_and_verdicts(tmp_path: Path) -> None:
    run = maker(tmp_path)("record", n=200)
    head, *log = run.metrics.read_text().splitlines()
    run.metrics.write_text("\n".join([f"{head},flops", *(f"{row},{n}e13" for n, row in enumerate(log, start=1))]))
    Evaluations(run).take_in()
    report = json.loads(records.take_in("cifar10-2pflop", run.path, tmp_path).read_text())
    found = parts_of("<!-- record cifar10-2pflop -->\n<!-- record cifar10-200tflop -->", tmp_path)
    assert "Not run: `python benchmarks/records.py cifar10-200tflop=RUN`" in found["record cifar10-200tflop"]
    (file,) = run.path.glob("evaluations/*/verdicts.parquet")
    columns = pq.read_table(file)
    held = np.logical_and.reduce([columns[name].to_numpy() for name in ("clean", "fgsm", "autoattack")])
    row = cells(found["record cifar10-2pflop"], "all together")
    assert row[1].startswith(f"{100 * held.mean():.1f} %") and row[3] == f"{held.sum()}/200"
    assert (
        report["log"][-1]["epoch"] == 30
        and f"{report['log'][-1]['flops']:.2e} floating" in found["record cifar10-2pflop"]
    )
