import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from toughen.errors import RunError
from toughen.reports.run_data import read_metrics, read_run
from toughen.run import RunFolder

MakeRun = Callable[..., RunFolder]


def test_empty_cells_are_nan(make_run: MakeRun) -> None:
    metrics = read_run(make_run(epochs=4)).metrics
    assert metrics["epoch"] == [1, 2, 3, 4]
    assert [math.isnan(value) for value in metrics["val_pgd"]] == [True, False, True, False]


def test_a_header_without_rows(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,lr\n")
    assert read_metrics(tmp_path / "metrics.csv") == {}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config", "epochs: ["),
        ("config", "just text"),
        ("metrics", "epoch,lr\n1,fast\n"),
        ("result", '{"schema": 1'),
        ("verdicts", "PAR1"),
        ("gallery", "no tensors"),
    ],
)
def test_a_damaged_file_is_named(make_run: MakeRun, name: str, content: str) -> None:
    folder = make_run()
    path: Path = getattr(folder, name)
    path.write_text(content)
    with pytest.raises(RunError, match=f"cannot read .*{path.name}"):
        read_run(folder)


def test_a_gallery_without_its_tensors(make_run: MakeRun) -> None:
    from safetensors.numpy import load_file, save_file

    folder = make_run()
    tensors = load_file(folder.gallery)
    del tensors["labels"]
    save_file(tensors, folder.gallery)
    with pytest.raises(RunError, match=r"no tensor named 'labels'; make it again with `toughen evaluate .*trades"):
        read_run(folder)


def test_a_result_of_another_version(make_run: MakeRun) -> None:
    folder = make_run()
    folder.result.write_text(json.dumps(folder.read_result() | {"schema": 2}))
    with pytest.raises(RunError, match="expected schema 1, got 2"):
        read_run(folder)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder at"):
        read_run(RunFolder(tmp_path / "nothing"))


def test_names_of_classes(make_run: MakeRun) -> None:
    run = read_run(make_run())
    assert (run.class_title(3), run.class_title(12), run.class_title(-1)) == ("3", "12", "nothing (NaN)")
