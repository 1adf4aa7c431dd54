"""Budget fast from the outside: the folder, the pages and a comparison; a kill in the audit, and several processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from toughen import compare, evaluate
from toughen.attacks.base import AUDIT
from toughen.evaluation import Evaluation
from toughen.run import RunFolder
from toughen.threat import ThreatModel

FAST: dict[str, Any] = {"budget": "fast", "audit": 0.4, "checks": False, "device": "cpu", "eps": 0.1}


class Wrong(nn.Module):
    """Takes every image for what another network thinks least likely."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return -self.network(images)


@pytest.mark.usefixtures("short_autoattack")
def test_estimates_are_marked_and_ranked_without_a_paired_test(network, robust_network, images, tmp_path: Path) -> None:
    pairs = images.subset(torch.arange(20))
    networks = {"wrong": Wrong(robust_network), "weak": network, "strong": robust_network}
    found = {name: evaluate(each, *pairs, out=str(tmp_path / name), **FAST) for name, each in networks.items()}
    assert not found["wrong"].result["audit"]["left"], "there is nothing to audit; the protocol is the same"
    assert evaluate(robust_network, *pairs, out=str(tmp_path / "strong"), **FAST).reused
    page = found["strong"].report
    assert page is not None and "is an estimate" in page.read_text()
    comparison = compare([str(tmp_path / name) for name in found])
    assert [run.name for run in comparison.ranked] == ["strong", "weak", "wrong"]
    assert [run.estimated for run in comparison.ranked] == [True, True, False]
    assert all(run.paired is None for run in comparison.ranked)
    assert comparison.page is not None and "without a paired test: <strong>strong, weak" in comparison.page.read_text()
    whole = [
        str(evaluate(each, *pairs, out=str(tmp_path / "whole" / name), **{**FAST, "audit": 1, "width": 0}).report)
        for name, each in {"weak": network, "strong": robust_network}.items()
    ]
    tested = compare([str(Path(page).parents[2]) for page in whole]).ranked
    assert not any(run.estimated for run in tested) and tested[1].paired is not None


@pytest.mark.usefixtures("short_autoattack")
def test_images_that_the_audit_broke_are_kept(network, images) -> None:
    pictures, labels = images.subset(torch.arange(20))
    found = evaluate(network, pictures, labels, keep_adversarial=True, batch_size=8, **{**FAST, "audit": 1, "width": 0})
    rows = torch.tensor(found.verdicts.table["index"].to_pylist())
    with torch.no_grad():
        right = network(found.adversarial).argmax(1) == labels[rows]
    assert right.tolist() == found.verdicts.robust().tolist()


@pytest.fixture
def run(untrained: Callable[[ThreatModel], RunFolder]) -> RunFolder:
    return untrained(ThreatModel("l2", 0.02))


def started(run: RunFolder, out: Path, *launch: str) -> "subprocess.Popen[str]":
    code = out.parent / "run.py"
    code.write_text("import sys\nfrom toughen.cli import main\nsys.exit(main())\n")
    budget = ["--budget", "fast", "--audit", "1", "--width", "0"]
    words = ["--test_images", "60", "--batch_size", "2", "--device", "cpu", "--checks", "false", "--out", str(out)]
    command = [sys.executable, *launch, str(code), "evaluate", str(run.path), *budget, *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True, **pipes)


@pytest.mark.nightly
def test_a_kill_in_the_audit_and_two_processes_give_what_one_gives(run: RunFolder, tmp_path: Path) -> None:
    whole, killed, shared = (tmp_path / name for name in ("whole", "killed", "shared"))
    first = started(run, killed)
    while not list(killed.glob(f"verdicts/*/*-{AUDIT}.parquet")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not (killed / "result.json").exists()
    several = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    for out, launch in ((killed, ()), (whole, ()), (shared, several)):
        process = started(run, out, *launch)
        said = process.communicate(timeout=600)
        assert process.returncode == 0, said
    one, *others = (Evaluation.load(RunFolder(out)) for out in (whole, killed, shared))
    assert one.result["audit"]["audited"] > 2
    for other in others:
        assert other.verdicts.table.equals(one.verdicts.table)
        for name in ("audit", "robust_accuracy", "figures", "planned", "complete", "judged_again"):
            assert other.result[name] == one.result[name]
