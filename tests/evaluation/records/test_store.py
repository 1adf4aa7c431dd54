"""Units on disk come back as they were, and only to the evaluation that they belong to."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from toughen.errors import RunError, ToughenWarning
from toughen.evaluation import EvaluationSpec
from toughen.evaluation.gallery import PICTURES
from toughen.evaluation.preflight import Finding
from toughen.evaluation.records.batches import BatchResult
from toughen.evaluation.records.store import VerdictStore, has_parts, unfinished
from toughen.run import RunFolder

PROTOCOL = {"attacks": {"fgsm": {"steps": 1}}, "n": 4, "batch_size": 2, "threat": {"eps": 0.1}}
UNIT = BatchResult(
    batch=1,
    name="fgsm",
    table=pa.table(
        {
            **{"index": [2, 3], "fgsm": [True, False], "fgsm_norm": pa.array([None, 0.5], pa.float32())},
            **{"fgsm_prediction": [7, 1], "fgsm_confidence": pa.array([0.9, 0.5], pa.float32())},
        }
    ),
    seconds=1.25,
    warnings=("odd",),
    versions={"torch": "2.6", "device": "cpu"},
    repeated=3,
    shard="2/3",
    pictures={
        **{name: torch.zeros([1, 1, 2, 2][:dimensions], dtype=dtype) for name, (dtype, dimensions) in PICTURES.items()},
        **{"rows": torch.tensor([1]), "held": torch.tensor([True]), "clean": torch.rand(1, 1, 2, 2)},
    },
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


@pytest.fixture
def parts(folder: RunFolder) -> VerdictStore:
    made = VerdictStore(folder, EvaluationSpec(PROTOCOL, (Finding("odd", "doubt", "beware"),)))
    made.begin()
    return made


def test_a_unit_comes_back(parts: VerdictStore):
    parts.write(UNIT)
    read = parts.read(1, "fgsm")
    assert read.table.equals(UNIT.table)
    assert read.held.tolist() == [True, False]
    for name in ("batch", "name", "seconds", "warnings", "versions", "repeated", "shard"):
        assert getattr(read, name) == getattr(UNIT, name)
    assert read.pictures.keys() == UNIT.pictures.keys()
    assert all(torch.equal(tensor, UNIT.pictures[name]) for name, tensor in read.pictures.items())


def test_what_was_not_computed_is_none(parts: VerdictStore):
    parts.write(UNIT)
    assert parts.read(0, "fgsm") is None
    assert parts.read(1, "pgd20") is None


def test_another_evaluation_does_not_see_them(folder: RunFolder, parts: VerdictStore):
    parts.write(UNIT)
    other = VerdictStore(folder, EvaluationSpec({**PROTOCOL, "threat": {"eps": 0.2}}))
    other.begin()
    assert other.path != parts.path
    assert other.read(1, "fgsm") is None
    # Not even where somebody moved the file.
    (parts.path / "00001-fgsm.parquet").rename(other.path / "00001-fgsm.parquet")
    with pytest.raises(RunError, match="belongs to another evaluation"):
        other.read(1, "fgsm")


def test_a_damaged_file_is_computed_again_and_named(parts: VerdictStore):
    parts.write(UNIT)
    file = parts.path / "00001-fgsm.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    with pytest.warns(ToughenWarning, match=r"cannot read .*00001-fgsm\.parquet.*computed again"):
        assert parts.read(1, "fgsm") is None
    file.write_bytes(whole)
    file.with_suffix(".safetensors").write_bytes(b"x")
    with pytest.warns(ToughenWarning, match=r"00001-fgsm"):
        assert parts.read(1, "fgsm") is None


def test_a_file_that_is_being_written_does_not_count(parts: VerdictStore):
    """A killed process leaves its temporary file; the unit is still missing, and the next one can be written."""
    (parts.path / ".00001-fgsm.parquet.abc").write_bytes(b"half")
    assert parts.read(1, "fgsm") is None
    parts.write(UNIT)
    assert parts.read(1, "fgsm") is not None


def test_notes(parts: VerdictStore):
    assert parts.noted("curve") is None
    parts.note("curve", {"settings": {"points": 3}, "eps": [0.1, 0.2]})
    assert parts.noted("curve") == {"settings": {"points": 3}, "eps": [0.1, 0.2]}
    (parts.path / "analysis-curve.json").write_text("{")
    with pytest.warns(ToughenWarning, match="analysis-curve.*computed again"):
        assert parts.noted("curve") is None


def test_what_lies_in_a_folder(folder: RunFolder, parts: VerdictStore):
    assert has_parts(folder)
    other = VerdictStore(folder, EvaluationSpec({**PROTOCOL, "threat": {"eps": 0.2}}))
    other.begin()
    assert {found.spec.key for found in unfinished(folder)} == {parts.spec.key, other.spec.key}
    assert next(f for f in unfinished(folder) if f.path == parts.path).spec.warnings == ("beware",)
    parts.remove()
    assert [found.spec.key for found in unfinished(folder)] == [other.spec.key]
    other.remove()
    assert not has_parts(folder)
    assert list(folder.path.iterdir()) == []
