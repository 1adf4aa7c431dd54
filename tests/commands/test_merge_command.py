"""`merge`: where it takes shards from, what it writes, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest

from toughen import evaluate, merge
from toughen.cli import main
from toughen.errors import InputError, RunError, ToughenWarning
from toughen.evaluation.records.evaluations import Evaluations
from toughen.run import RunFolder
from toughen.threat import ThreatModel

pytestmark = pytest.mark.usefixtures("short_self_checks")

SETTINGS = {"budget": "quick", "test_images": 12, "batch_size": 4, "device": "cpu"}


@pytest.fixture
def run(untrained: Callable[[ThreatModel], RunFolder]) -> RunFolder:
    return untrained(ThreatModel("l2", 0.4))


def test_shards_in_the_runs_folder(run: RunFolder, tmp_path: Path):
    whole = evaluate(str(run.path), out=str(tmp_path / "whole"), **SETTINGS)
    for number in (1, 2, 3):
        evaluate(str(run.path), shard=f"{number}/3", **SETTINGS)
    merged = merge([str(run.path)], require="robust >= 0.99")
    assert merged.verdicts.table.equals(whole.verdicts.table, check_metadata=True)
    assert merged.result["figures"] == whole.result["figures"]
    assert merged.result["robust_accuracy"] == whole.result["robust_accuracy"]
    assert merged.result["key"] == whole.result["key"]
    assert merged.result["checks"] == whole.result["checks"]
    assert merged.result["masking_suspected"] == whole.result["masking_suspected"]
    assert "self_checks" in merged.result["analyses"]
    assert run.read_result() == merged.result
    assert run.report.is_file()
    assert not (run.path / "verdicts").exists()
    assert not merged.requirement.met
    # What was merged is the whole evaluation: asked for again, it is there.
    assert evaluate(str(run.path), **SETTINGS).reused


def test_shards_in_folders_of_their_own(run: RunFolder, tmp_path: Path):
    folders = [str(tmp_path / f"machine-{number}") for number in (1, 2, 3)]
    for number, folder in enumerate(folders, 1):
        evaluate(str(run.path), shard=f"{number}/3", out=folder, **SETTINGS)
    out = RunFolder(tmp_path / "joined")
    merge(folders, out=str(out.path))
    assert out.read_result()["n"] == 12
    assert out.config.exists()
    assert out.report.is_file()
    assert all((Path(folder) / "verdicts").exists() for folder in folders), "what others computed stays"


def test_what_is_refused(run: RunFolder, tmp_path: Path):
    evaluate(str(run.path), shard="1/3", **SETTINGS)
    with pytest.raises(RunError, match=r"2/3 \(not begun\), 3/3 \(not begun\)"):
        merge([str(run.path)])
    assert not run.result.exists()
    with pytest.raises(InputError, match="expected at least one folder"):
        merge([])
    with pytest.raises(InputError, match="expected --out"):
        merge([str(run.path), str(run.path)])
    with pytest.raises(RunError, match="holds no parts"):
        merge([str(tmp_path)])
    with pytest.raises(InputError, match="unknown figure"):
        merge([str(run.path)], require="autoattack >= 0.1")


def test_the_result_of_another_evaluation_stays(run: RunFolder):
    before = evaluate(str(run.path), **{**SETTINGS, "seed": 1}).result
    for number in (1, 2):
        evaluate(str(run.path), shard=f"{number}/2", **SETTINGS)
    merged = merge([str(run.path)])
    kept = [result for _, result in Evaluations(run).all()]
    assert sorted(kept, key=lambda result: result["seed"]) == [merged.result, before]
    assert merged.report is not None
    assert merged.report.is_file()


def test_two_evaluations_in_one_folder(run: RunFolder):
    for seed in (0, 1):
        evaluate(str(run.path), shard="1/1", **{**SETTINGS, "seed": seed})
    with pytest.raises(RunError, match=r"different evaluations.*seed.*--key \w{8} or --key \w{8}"):
        merge([str(run.path)])
    names = {path.name for path in (run.path / "verdicts").iterdir()}
    chosen = sorted(names)[0]
    merge([str(run.path)], key=chosen[:8])
    assert run.read_result()["key"].startswith(chosen)
    assert {path.name for path in (run.path / "verdicts").iterdir()} == names - {chosen}


def test_the_command_line(run: RunFolder, capsys: pytest.CaptureFixture[str]):
    words = ["--budget", "quick", "--test_images", "12", "--batch_size", "4", "--device", "cpu"]
    for number in (1, 2):
        assert main(["evaluate", str(run.path), "--shard", f"{number}/2", *words]) == 0
    assert "toughen merge" in capsys.readouterr().out
    assert main(["merge", str(run.path), "--require", "robust < 1"]) == 0
    assert "requirement met: robust < 1" in capsys.readouterr().out
    assert main(["evaluate", str(run.path), "--require", "robust >= 0.9", *words]) == 1
    said = capsys.readouterr()
    assert "already evaluated" in said.out
    assert said.err.startswith("toughen: requirement not met: robust >= 0.9: robust 0.")
    assert said.err.count("\n") == 1
    assert main(["merge", str(run.path)]) == 2
    assert "holds no parts" in capsys.readouterr().err


def test_shards_with_other_checks_are_refused(run: RunFolder, tmp_path: Path):
    """Which shard makes an analysis depends on the list: with two lists, one falls between them."""
    folders = [str(tmp_path / f"machine-{number}") for number in (1, 2, 3)]
    for number, folder in enumerate(folders, 1):
        evaluate(str(run.path), shard=f"{number}/3", out=folder, checks=number != 2, **SETTINGS)
    with pytest.raises(RunError, match=r"different analyses or checks: self_checks \{.*\} and absent"):
        merge(folders, out=str(tmp_path / "joined"))
    evaluate(str(run.path), shard="2/3", out=folders[1], **SETTINGS)
    assert "self_checks" in merge(folders, out=str(tmp_path / "joined")).result["analyses"]


def test_a_truncated_part_is_computed_again(run: RunFolder, tmp_path: Path):
    whole = evaluate(str(run.path), out=str(tmp_path / "whole"), **SETTINGS)
    for number in (1, 2, 3):
        evaluate(str(run.path), shard=f"{number}/3", **SETTINGS)
    (part,) = (run.path / "verdicts").glob("*/00001-fgsm.parquet")
    part.write_bytes(part.read_bytes()[:-30])
    with pytest.warns(ToughenWarning, match="00001-fgsm.*computed again"), pytest.raises(RunError, match="missing"):
        merge([str(run.path)])
    with pytest.warns(ToughenWarning, match="00001-fgsm.*computed again"):
        evaluate(str(run.path), shard="2/3", **SETTINGS)
    assert merge([str(run.path)]).verdicts.table.equals(whole.verdicts.table, check_metadata=True)
