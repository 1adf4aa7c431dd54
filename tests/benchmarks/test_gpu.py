"""The script for a GPU: what it stores, and that it goes on from there; in small it runs on a CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import common
from gpu import Measured, figures_of
from toughen.data import Digits, Split

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    return tmp_path


def step(value: float) -> dict[str, Any]:
    return {"ratio": [value, [value, value]]}


def test_what_is_measured_is_on_disk_and_not_measured_again(results: Path) -> None:
    measured = Measured("gpu.py", {"size": "full"})
    measured.make("step/TRADES", lambda: step(6.0))
    measured.make("step/ARAT", lambda: {}["missing"])
    measured.keep("train", {"unfinished": 7.0})
    (path,) = results.glob("*/gpu.json")
    assert [figure["met"] for figure in json.loads(path.read_text())["figures"]] == [True]

    again = Measured("gpu.py", {"size": "full"})
    again.make("step/TRADES", lambda: step(1.0))
    assert again.rows["step/TRADES"]["ratio"][0] == 6.0
    assert "missing" in again.rows["step/ARAT"]["failed"]
    again.make("step/ARAT", lambda: step(2.0))
    assert again.rows["step/ARAT"]["ratio"][0] == 2.0
    assert again.spent("train") == 7.0 and not again.done("train")
    assert not Measured("gpu.py", {"size": "tiny"}).rows


def test_targets() -> None:
    held = {"accuracy": 0.481}
    rows = {
        "step/TRADES": step(4.9),
        "share/resnet18": {"share": 0.2, "large": False},
        "share/resnet18-large": {"share": 0.36, "large": True},
        "compiled/wrn": {"share": 0.49, "large": False},
        "train": {"seconds": 599.0},
        "fast": {"seconds": 181.0},
        "standard": {"seconds": 1000.0, "robust_accuracy": held},
    }
    met = {figure.name: figure.met for figure in figures_of(rows)}
    assert met == {
        "step/TRADES": False,
        "share/resnet18": None,
        "share/resnet18-large": True,
        "compiled/wrn": False,
        "train": True,
        "fast": False,
        "standard": None,
        "standard/AutoAttack": True,
    }
    assert figures_of({name: {**row, "failed": "why"} for name, row in rows.items()}) == []


@pytest.mark.nightly
def test_all_of_it_in_small_killed_and_gone_on_with(tmp_path: Path) -> None:
    """From Parquet files, in the source tree; killed while it trains or before."""
    write_parquet(tmp_path / "data")
    words = [sys.executable, str(SCRIPT), "--cifar10", str(tmp_path / "data"), "--size", "tiny", "--runs", "runs"]
    environment = {**os.environ, "BENCHMARK_RESULTS": str(tmp_path / "results"), "OMP_NUM_THREADS": "1"}

    def rows() -> dict[str, Any]:
        found = list(tmp_path.glob("results/*/gpu-tiny.json"))
        return {row["name"]: row for row in json.loads(found[0].read_text())["rows"]} if found else {}

    with subprocess.Popen(words, env=environment, cwd=tmp_path, start_new_session=True) as process:
        while "share/wrn" not in rows():
            assert process.poll() is None
            time.sleep(0.2)
        time.sleep(3)
        os.killpg(process.pid, signal.SIGKILL)
    before = rows()
    subprocess.run(words, env=environment, cwd=tmp_path, check=True)
    after = rows()
    measured = [name for name in before if name.startswith(("step/", "share/"))]
    assert len(measured) == 5 and all(after[name] == before[name] for name in measured)
    assert {"train", "fast", "standard", "compiled/resnet18", "compiled/resnet18-large", "compiled/wrn"} <= after.keys()
    assert not any({"failed", "unfinished"} & row.keys() for row in after.values())
    assert after["train"]["epochs"] == 2 and after["standard"]["complete"] and after["fast"]["audit"]


def write_parquet(folder: Path) -> None:
    """Digits as colour images of 32 x 32 in CIFAR-10's layout, shuffled."""
    folder.mkdir()
    for split in get_args(Split):
        images = Digits().load(split)
        order = torch.randperm(len(images.labels), generator=torch.Generator().manual_seed(0))
        encoded = []
        for pixels in images.images.take(order).numpy()[:, 0]:
            stream = BytesIO()
            Image.fromarray(np.kron(pixels, np.ones((4, 4), np.uint8))).convert("RGB").save(stream, format="PNG")
            encoded.append({"bytes": stream.getvalue(), "path": None})
        table = pa.table({"img": encoded, "label": images.labels[order].numpy()})
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
