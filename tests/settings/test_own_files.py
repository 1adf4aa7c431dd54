"""Networks in a file of the user's own: named by the file, kept with the run, run again with trust alone."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

import toughen
from toughen.cli import main
from toughen.data import Digits
from toughen.errors import InputError, RunError, ToughenWarning
from toughen.run import RunFolder
from toughen.settings.names import import_path

NET = """
from torch import nn

WIDTH = 4

class Net(nn.Sequential):
    def __init__(self, num_classes: int, in_channels: int, width: int = WIDTH):
        self.width = width
        super().__init__(nn.Conv2d(in_channels, width, 3), nn.Flatten(), nn.Linear(36 * width, num_classes))

def build(num_classes: int, in_channels: int = 1, width: int = WIDTH) -> nn.Module:
    return Net(num_classes, in_channels, width)
"""
TRAIN = [
    "train", "--method", "Standard", "--epochs", "1", "--train_images", "256", "--budget", "none", "--trackers", "[]",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/net.py").write_text(NET)
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path
    forget()


def forget() -> None:
    """As in another process."""
    for name in [name for name in sys.modules if name.startswith("code/")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["Net", "build"])
def test_a_run_is_read_without_the_file_and_with_trust_alone(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, "--model", f"net.py:{name}", "--model.width", "3", "--out", "run"]) == 0
    run = shutil.move(folder / "work/run", folder / "elsewhere")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["class_path"] == f"code/net.py:{name}"
    assert (run / "code/net.py").read_text() == NET
    (folder / "work/net.py").unlink()
    monkeypatch.chdir(folder)
    evaluated = ["evaluate", str(run), "--budget", "quick", "--test_images", "16", "--checks", "false"]
    capsys.readouterr()
    assert main(evaluated) == 2
    assert f"add --trust code/net.py:{name}" in capsys.readouterr().err
    assert main([*evaluated, "--trust", f"code/net.py:{name}"]) == 0
    code = f"import toughen; print(toughen.load({str(run)!r}, trust=['code/net.py']).network)"
    environment = {**os.environ, "PYTHONPATH": str(Path(toughen.__file__).parents[1])}
    said = subprocess.run([sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True)
    assert "Conv2d(1, 3, " in said.stdout, said.stderr


def test_a_run_goes_on_with_the_file_that_it_was_begun_with(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*TRAIN, "--model", "net.py:Net", "--out", "run", "--resume", "auto"]
    assert main(command) == 0
    assert main(command) == 0
    Path("net.py").write_text(NET.replace("Conv2d", "LazyConv2d").replace("in_channels, width, 3", "width, 3"))
    forget()
    capsys.readouterr()
    assert main(command) == 2
    assert "net.py is not what the run in run was begun with, run/code/net.py" in capsys.readouterr().err


def test_a_runs_copy_that_was_changed_is_not_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--model", "net.py:Net", "--out", "run"]) == 0
    copy = Path("run/code/net.py")
    copy.write_text("open('it-ran', 'w')\n" + NET)
    forget()
    for command in (
        ["evaluate", "run", "--budget", "quick", "--test_images", "16", "--trust", "code/net.py"],
        ["train", "--resume", "run", "--trust", "code/net.py"],
    ):
        capsys.readouterr()
        assert main(command) == 2
        assert f"cannot read {copy}: it is damaged" in capsys.readouterr().err
    with pytest.raises(RunError, match="if you changed it yourself, delete run/code/manifest.json"):
        toughen.load("run", trust=["code/net.py"])
    assert not Path("it-ran").exists()
    with pytest.warns(ToughenWarning, match="net.py is damaged, or was changed"):
        RunFolder("run").warn_of_damage()
    Path("run/code/manifest.json").unlink()
    toughen.load("run", trust=["code/net.py"])
    assert Path("it-ran").exists()


def test_a_recipes_own_file_lies_beside_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "recipes").mkdir()
    shutil.move("net.py", folder / "recipes/net.py")
    (folder / "recipes/my.yaml").write_text("model: {class_path: 'net.py:Net', init_args: {width: 2}}")
    command = [*TRAIN, "--config", str(folder / "recipes/my.yaml"), "--out", "run"]
    assert main(command) == 2
    assert "add --trust net.py:Net" in capsys.readouterr().err
    assert main([*command, "--trust", "net.py"]) == 0
    assert toughen.load("run", trust=["code/net.py"]).network(torch.rand(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import helper", r"No module named 'helper'; a run keeps this one file"),
        ("1 / 0", "division by zero"),
        ("def", "invalid syntax"),
        ("", "has no attribute 'Net'"),
    ],
)
def test_what_cannot_be_imported(folder: Path, code: str, message: str) -> None:
    Path("net.py").write_text(code)
    with pytest.raises(InputError, match=rf"cannot import 'net\.py:Net': .*{message}"):
        import_path("net.py:Net")
    with pytest.raises(InputError, match="cannot import 'no.py:Net'"):
        import_path("no.py:Net")


def test_a_file_that_uses_another_of_its_folder_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python finds it where the folder is on its path, and would not find it from the run's copy."""
    monkeypatch.syspath_prepend(str(folder / "work"))
    Path("beside_it.py").write_text("def helped(): pass")
    Path("net.py").write_text("from beside_it import helped\n" + NET)
    with pytest.raises(InputError, match=r"it uses beside_it\.py beside it; a run keeps this one file"):
        import_path("net.py:Net")


def test_two_files_of_one_name_stay_apart(folder: Path) -> None:
    first = import_path("net.py:Net")
    (folder / "other").mkdir()
    (folder / "other/net.py").write_text(NET.replace("WIDTH = 4", "WIDTH = 5"))
    second = import_path(f"{folder}/other/net.py:Net")
    assert first is import_path("net.py:Net") is not second
    trained = toughen.train(
        Digits(), second, toughen.methods.Standard(), epochs=1, train_images=256, budget="none", out="run", trackers=[]
    )
    kept = list((trained.folder.path / "code").glob("*.py"))
    assert [file.read_text() for file in kept] == [NET.replace("WIDTH = 4", "WIDTH = 5")]
    assert json.dumps(trained.folder.read_config()["model"]["class_path"]) == f'"code/{kept[0].name}:Net"'
