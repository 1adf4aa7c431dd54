"""The table: written and read, and every figure counted again by hand."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from toughen.errors import InputError, RunError
from toughen.evaluation import Verdicts
from toughen.evaluation.records.verdicts import verdict_schema

ROWS = [
    {"index": 4, "label": 1, "clean_prediction": 1, "clean_confidence": 0.75, "clean": True,
     "a": True, "a_norm": None, "a_prediction": 1, "a_confidence": 0.5,
     "b": True, "b_norm": None, "b_prediction": 1, "b_confidence": 0.5, "b_broken_by": None},
    {"index": 2, "label": 0, "clean_prediction": 0, "clean_confidence": 0.5, "clean": True,
     "a": True, "a_norm": None, "a_prediction": 0, "a_confidence": 0.5,
     "b": False, "b_norm": 0.25, "b_prediction": 3, "b_confidence": 0.25, "b_broken_by": "square"},
    {"index": 9, "label": 0, "clean_prediction": 0, "clean_confidence": 0.5, "clean": True,
     "a": False, "a_norm": 0.5, "a_prediction": 1, "a_confidence": 0.5,
     "b": True, "b_norm": None, "b_prediction": None, "b_confidence": None, "b_broken_by": None},
    {"index": 0, "label": 1, "clean_prediction": -1, "clean_confidence": None, "clean": False,
     "a": False, "a_norm": 0.0, "a_prediction": -1, "a_confidence": None,
     "b": False, "b_norm": 0.0, "b_prediction": -1, "b_confidence": None, "b_broken_by": "clean"},
]  # fmt: skip


def made(rows: list[dict] = ROWS, **protocol: object) -> Verdicts:
    return Verdicts(pa.Table.from_pylist(rows, schema=verdict_schema(["a", "b"], ["b"], protocol)))


def test_round_trip(tmp_path: Path):
    verdicts = made(threat={"norm": "l2", "eps": 0.5})
    verdicts.write(tmp_path / "verdicts.parquet")
    read = Verdicts.read(tmp_path / "verdicts.parquet")
    assert read.table.equals(verdicts.table, check_metadata=True)
    assert read.table.to_pylist() == ROWS
    assert read.attacks == ("a", "b")
    assert read.about["protocol"] == {"threat": {"norm": "l2", "eps": 0.5}}
    assert [path.name for path in tmp_path.iterdir()] == ["verdicts.parquet"]


@pytest.mark.parametrize(("attack", "held"), [("clean", 3), ("a", 2), ("b", 2)])
def test_accuracy(attack: str, held: int):
    bounds = binomtest(held, 4).proportion_ci(method="wilson")
    figure = made().accuracy(attack)
    assert figure == {
        "accuracy": held / 4,
        "interval": pytest.approx([bounds.low, bounds.high]),
        "held": held,
        "n": 4,
    }


def test_robust_means_under_every_attack():
    assert made().robust().tolist() == [True, False, False, False]
    assert made().robust_accuracy()["accuracy"] == 0.25


def test_an_unknown_attack_is_named():
    with pytest.raises(InputError, match=r"unknown 'clena'; did you mean 'clean'"):
        made().held("clena")


def test_parts_join_to_the_whole():
    assert Verdicts.join([made(ROWS[:1]), made(ROWS[1:])]).table.equals(made().table, check_metadata=True)


def test_parts_of_different_evaluations_do_not_join():
    with pytest.raises(InputError, match="different evaluations"):
        Verdicts.join([made(seed=0), made(seed=1)])
    with pytest.raises(InputError, match="at least one"):
        Verdicts.join([])


def test_what_is_no_verdict_table_is_refused(tmp_path: Path):
    path = tmp_path / "verdicts.parquet"
    with pytest.raises(RunError, match=r"verdicts\.parquet"):
        Verdicts.read(path)
    made().write(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RunError, match="toughen evaluate"):
        Verdicts.read(path)
    pq.write_table(pa.table({"index": np.arange(3)}), path)
    with pytest.raises(RunError, match="toughen evaluate"):
        Verdicts.read(path)


def test_another_schema_is_refused(tmp_path: Path):
    table = made().table.replace_schema_metadata({"toughen": '{"schema": 2, "attacks": []}'})
    pq.write_table(table, tmp_path / "v.parquet")
    with pytest.raises(RunError, match="schema 2, expected 1"):
        Verdicts.read(tmp_path / "v.parquet")
