"""Under torchrun the processes share the evaluation out, and the first one joins and reports."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from toughen import evaluate
from toughen.evaluation import Evaluation
from toughen.run import RunFolder
from toughen.threat import ThreatModel

WORDS = ["--budget", "quick", "--test_images", "20", "--batch_size", "8", "--device", "cpu"]


@pytest.fixture
def run(untrained: Callable[[ThreatModel], RunFolder]) -> RunFolder:
    return untrained(ThreatModel("l2", 0.4))


def torchrun(folder: RunFolder, processes: int, *words: str) -> "subprocess.CompletedProcess[str]":
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    code = folder.path.parent / "run.py"
    code.write_text("import sys\nfrom toughen.cli import main\nsys.exit(main())\n")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    command = [*launch, str(code), "evaluate", str(folder.path), *WORDS, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.nightly  # in one process: tests/evaluation/test_resume.py, three shards
def test_processes_share_the_evaluation(run: RunFolder, tmp_path: Path):
    whole = evaluate(str(run.path), budget="quick", test_images=20, batch_size=8, device="cpu", out=str(tmp_path / "w"))
    answer = torchrun(run, 2, "--out", str(tmp_path / "shared"))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("all together") == 1, "only the first process speaks"
    shared = Evaluation.load(RunFolder(tmp_path / "shared"))
    assert shared.verdicts.table.equals(whole.verdicts.table, check_metadata=True)
    assert shared.result["figures"] == whole.result["figures"]
    assert shared.result["complete"]
    assert RunFolder(tmp_path / "shared").report.is_file()
    assert not (tmp_path / "shared" / "verdicts").exists()


@pytest.mark.nightly
def test_more_processes_than_batches_and_a_requirement(run: RunFolder):
    answer = torchrun(run, 6, "--require", "robust >= 0.99")
    assert answer.returncode != 0
    assert answer.stderr.count("requirement not met: robust >= 0.99") == 1
    assert run.read_result()["n"] == 20
    again = torchrun(run, 2)
    assert again.returncode == 0
    assert again.stdout.count("already evaluated") == 1
