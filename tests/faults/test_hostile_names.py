"""Run folders, recipes and arguments made to run code: each is refused in one sentence, and no canary appears."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from toughen import compare, evaluate, load, train, tune_batch
from toughen.cli import main
from toughen.data import Digits, ExtraImages
from toughen.errors import InputError
from toughen.methods import D2R, HAT, Guide
from toughen.models import SmallCNN
from toughen.settings.trust import trusting

SMALL = {"epochs": 1, "train_images": 60, "val_images": 20, "batch_size": 30, "device": "cpu", "trackers": []}
QUICK = ["--budget", "quick", "--test_images", "8", "--device", "cpu", "--checks", "false"]
TRAIN = ["train", "--epochs", "1", "--train_images", "60", "--device", "cpu", "--budget", "none", "--out", "o"]
TOUCHES = "import pathlib; pathlib.Path({canary!r}).touch()\n"
NET = "from torch import nn\nclass Net(nn.Flatten):\n    pass\n"


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def payloads(place: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """What a file names, with the arguments by which it would touch `place / "canary"`."""
    canary = str(place / "canary")
    text, shell = TOUCHES.format(canary=canary), f"touch {canary}"
    for name in ("in_folder.py", "transformers.py"):
        (place / name).write_text(text + NET)
    (place / "script.py").write_text(text)
    (place / "hubconf.py").write_text(f"def net(**rest):\n    {text}")
    torch.save(Bomb(canary), place / "bomb.pt")
    np.save(place / "bomb.npy", np.array([Bomb(canary)], dtype=object), allow_pickle=True)
    bomb = str(place / "bomb.pt")
    return {
        "os.system": ("os.system", {"command": shell}),
        "getoutput": ("subprocess.getoutput", {"cmd": shell}),
        "eval": ("timeit.timeit", {"stmt": text, "number": 1}),
        "hub": ("torch.hub.load", {"repo_or_dir": str(place), "model": "net", "source": "local"}),
        "pickle": ("torch.load", {"f": bomb, "weights_only": False}),
        "numpy": ("numpy.load", {"file": str(place / "bomb.npy"), "allow_pickle": True}),
        "runpy": ("runpy.run_path", {"path_name": str(place / "script.py")}),
        "working folder": ("in_folder.Net", {}),
        "library": ("transformers.Net", {}),
        "own function": ("toughen.run.RunFolder.create", {}),
        "own command": ("toughen.commands.train.train", {**SMALL, "budget": "none", "out": canary}),
        "attribute": ("toughen.run.os.system", {"command": shell}),
        "import": ("toughen.settings.door.importlib.import_module", {"name": "in_folder"}),
        "through torch": ("torch.nn.modules.module.torch.load", {"f": bomb, "weights_only": False}),
        "imported": ("toughen.cli.importlib", {}),
        "loader": ("toughen.settings.door.import_path", {"path": "in_folder.Net"}),
        "relative": (".in_folder.Net", {}),
        "dunder": ("toughen.__init__.train", {"out": canary}),
        "path": (f"{place}/in_folder.Net", {}),
        "builder": ("timm.create_model", {"model_name": "resnet18", "checkpoint_path": bomb}),
        "argument": ("timm.models.resnet.resnet18", {"pretrained": True, "pretrained_cfg": {"file": bomb}}),
        "passed on": ("toughen.models.Timm", {"name": "resnet18", "arguments": {"checkpoint_path": bomb}}),
        "hub name": ("timm.models.resnet.resnet18", {"pretrained_cfg": {"x": 1}, "x": "hf-hub:some/one"}),
        "kernel": ("transformers.ViTConfig", {"attn_implementation": "some/kernel"}),
        "inner kernel": (
            "toughen.models.Transformers",
            {"name": "x", "config": {"model_type": "vit", "text_config": {"_attn_implementation": "some/kernel"}}},
        ),
        "backbone": ("transformers.ViTConfig", {"use_pretrained_backbone": True, "backbone": "some/one"}),
        "within": ("toughen.models.SmallCNN", {"width": described("os.system", {"command": shell})}),
        "deep": ("torch.nn.Linear", {"in_features": 2, "device": [{"a": described("os.system", {"command": shell})}]}),
    }


LIVE = ("os.system", "getoutput", "eval", "hub", "pickle", "numpy", "runpy", "working folder", "library")
"""Of these it is shown that they do touch the canary once they are called."""
WAYS = (
    "evaluate", "resume", "transfer", "standard", "guide", "pseudo_labeller", "compare", "recipe", "guide of a recipe",
    "tune-batch",
)  # fmt: skip


def described(path: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": path, "init_args": arguments}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small network, trained and evaluated, twice."""
    folder = tmp_path_factory.mktemp("runs")
    train(**SMALL, budget="none", out=str(folder / "good"))
    evaluate(str(folder / "good"), budget="quick", test_images=8, device="cpu", checks=False)
    shutil.copytree(folder / "good", folder / "bad")
    return folder


@pytest.fixture
def place(tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the two runs in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("good", "bad"):
        shutil.copytree(runs / name, tmp_path / name)
    return tmp_path


def command(way: str, place: Path, path: str, arguments: dict[str, Any]) -> list[str]:
    """A command that meets what this file names, after that was put where the way leads."""
    model = described(path, arguments)
    config = yaml.safe_load((place / "bad/config.yaml").read_text())
    (place / "bad/config.yaml").write_text(yaml.safe_dump({**config, "model": model}))
    (place / "bad/manifest.json").unlink(missing_ok=True)  # a stranger's has the right checksums
    (place / "recipe.yaml").write_text(yaml.safe_dump({"model": model}))
    guided = {"method": described("D2R", {"guide": {"network": path, "settings": arguments}})}
    (place / "guided.yaml").write_text(yaml.safe_dump(guided))
    np.savez(place / "extra.npz", image=np.zeros((40, 8, 8, 1), np.uint8))
    extra = ["--extra.path", "extra.npz", "--extra.pseudo_labeller", "bad"]
    return {
        "evaluate": ["evaluate", "bad", *QUICK],
        "resume": ["train", "--resume", "bad"],
        "transfer": ["evaluate", "good", "--transfer", "bad", *QUICK],
        "standard": [*TRAIN, "--method", "HAT", "--method.standard", "bad"],
        "guide": [*TRAIN, "--method", "D2R", "--method.guide.weights", "bad"],
        "pseudo_labeller": [*TRAIN, *extra],
        "compare": ["compare", "good", "bad", "--transfer", "--transfer_images", "4"],
        "recipe": [*TRAIN, "--config", "recipe.yaml"],
        "guide of a recipe": [*TRAIN, "--config", "guided.yaml"],
        "tune-batch": ["tune-batch", "--config", "recipe.yaml"],
    }[way]


def check_refused(arguments: list[str], place: Path, capsys: pytest.CaptureFixture[str], *words: str) -> None:
    paths = sys.path.copy()
    capsys.readouterr()
    status, said = main(arguments), capsys.readouterr().err
    assert status == 2, said
    assert said.startswith("toughen: ")
    assert "Traceback" not in said
    assert all(word in said for word in words), said
    check_untouched(place)
    assert sys.path == paths


def check_untouched(place: Path) -> None:
    assert not (place / "canary").exists()
    imported = {str(getattr(module, "__file__", None)) for module in [*sys.modules.values()]}
    assert not [file for file in imported if Path(file).parent == place]


@pytest.mark.parametrize("name", LIVE)
def test_the_canary_is_touched_by_what_is_called(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, arguments = payloads(tmp_path)[name]
    monkeypatch.syspath_prepend(str(tmp_path))
    module, _, last = path.rpartition(".")
    monkeypatch.delitem(sys.modules, module, raising=False) if module in ("in_folder", "transformers") else None
    getattr(importlib.import_module(module), last)(**arguments)
    for added in ("in_folder", "transformers", "hubconf"):
        sys.modules.pop(added, None)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["os.system", "working folder"])
def test_every_way_in_refuses(way: str, name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, arguments = payloads(place)[name]
    check_refused(command(way, place, path, arguments), place, capsys, f"would run {path}(")


def test_every_name_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, arguments in payloads(place).values():
        check_refused(command("evaluate", place, path, arguments), place, capsys)
        with pytest.raises(InputError):
            load("bad")
        check_untouched(place)


@pytest.mark.nightly
@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_refuses_every_name(way: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, arguments in payloads(place).values():
        check_refused(command(way, place, path, arguments), place, capsys)


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("data", described("os.system", {"command": "touch canary"})),
        ("data", described("toughen.models.SmallCNN", {})),
        ("data", described("toughen.data.Digits", {"seed": described("os.system", {"command": "touch canary"})})),
        ("method", described("os.system", {"command": "touch canary"})),
        ("method", described("toughen.methods.TRADES", {"attack": described("in_folder.Net", {})})),
        ("method", described("toughen.methods.TRADES", {"beta": described("os.system", {"command": "touch canary"})})),
        ("optimizer", described("os.system", {"command": "touch canary"})),
        ("optimizer", described("torchvision.models.resnet18", {})),
        ("optimizer", described("torch.optim.AdamW", {"lr": described("os.system", {"command": "touch canary"})})),
        ("optimizer", described("torch.optim.AdamW", {"no": described("os.system", {"command": "touch canary"})})),
        ("schedule", described("os.system", {"command": "touch canary"})),
        ("average", described("os.system", {"command": "touch canary"})),
        ("awp", described("os.system", {"command": "touch canary"})),
        ("threat", described("os.system", {"command": "touch canary"})),
        ("threat", {"norm": "linf", "eps": described("os.system", {"command": "touch canary"})}),
        ("epochs", described("os.system", {"command": "touch canary"})),
        ("trackers", [described("os.system", {"command": "touch canary"})]),
        ("observer", described("os.system", {"command": "touch canary"})),
        ("progress", described("os.system", {"command": "touch canary"})),
        ("trust", ["os"]),
    ],
    ids=str,
)
def test_every_section_is_read_by_its_type(
    section: str, value: Any, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    payloads(place)
    config = {**yaml.safe_load((place / "bad/config.yaml").read_text()), section: value}
    for file in (place / "bad/config.yaml", place / "recipe.yaml"):
        file.write_text(yaml.safe_dump(config))
    check_refused(["train", "--resume", "bad"], place, capsys)
    check_refused(["train", "--config", "recipe.yaml", "--out", "o"], place, capsys)


def test_a_process_of_its_own_runs_nothing_either(place: Path) -> None:
    """Started in the folder where the module to be imported lies."""
    arguments = command("evaluate", place, *payloads(place)["working folder"])
    code = "import sys; from toughen.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments], cwd=place, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--trust in_folder.Net" in done.stderr
    assert "Traceback" not in done.stderr
    check_untouched(place)


def test_python_refuses_what_the_command_line_refuses(place: Path) -> None:
    command("evaluate", place, *payloads(place)["os.system"])
    extra = ExtraImages("extra.npz", pseudo_labeller="bad")
    calls: list[Callable[[], Any]] = [
        lambda: load("bad"),
        lambda: evaluate("bad", budget="quick", test_images=8),
        lambda: evaluate("good", transfer=["bad"], budget="quick", test_images=8),
        lambda: evaluate(SmallCNN(), data=Digits(), transfer=["bad"], budget="quick", test_images=8),
        lambda: train(resume="bad"),
        lambda: train(method=HAT("bad"), **SMALL, out="o"),
        lambda: train(method=D2R(Guide(weights="bad")), **SMALL, out="o"),
        lambda: train(extra=extra, **SMALL, out="o"),
        lambda: tune_batch(method=HAT("bad"), train_images=60, up_to=8),
        lambda: compare(["good", "bad"], transfer=True, transfer_images=4),
    ]
    for call in calls:
        with pytest.raises(InputError, match="os.system"):
            call()
    check_untouched(place)


def test_own_classes_work_once_they_are_trusted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file's name, arguments and place are said, and the option that is needed."""
    (place / "mine_trusted.py").write_text("from toughen.models import SmallCNN\nclass Net(SmallCNN):\n    pass\n")
    config = yaml.safe_load((place / "bad/config.yaml").read_text())
    config["model"]["class_path"] = "mine_trusted.Net"
    (place / "bad/config.yaml").write_text(yaml.safe_dump(config))
    (place / "bad/manifest.json").unlink()
    try:
        assert main(["evaluate", "bad", *QUICK]) == 2
        said = capsys.readouterr().err
        assert "bad/config.yaml: model: this would run mine_trusted.Net(" in said
        assert "in_channels=1" in said
        assert "--trust mine_trusted.Net" in said
        assert "mine_trusted" not in sys.modules
        assert main(["evaluate", "bad", *QUICK, "--trust", "other,mine_trusted"]) == 0
        assert main(["compare", "good", "bad", "--transfer", "--transfer_images", "4", "--trust", "mine_trusted"]) == 0
        assert main(["evaluate", "bad", *QUICK, "--trust", "mine_trusted.Ne"]) == 2
        assert type(load("bad", trust=["mine_trusted"]).network.network).__name__ == "Net"
        with trusting(["mine_trusted"]):
            assert load("bad").classes == load("good").classes
        with pytest.raises(InputError, match="trust=\\['mine_trusted.Net'\\]"):
            load("bad")
    finally:
        sys.modules.pop("mine_trusted", None)


def test_what_the_command_line_names_is_trusted_in_its_files(place: Path) -> None:
    (place / "mine_named.py").write_text("from toughen.models import SmallCNN\nclass Net(SmallCNN):\n    pass\n")
    (place / "recipe.yaml").write_text(yaml.safe_dump({"model": described("mine_named.Net", {"width": 2})}))
    quick = [*TRAIN, "--batch_size", "20"]
    try:
        assert main([*quick, "--config", "recipe.yaml"]) == 2
        assert main([*quick, "--config", "recipe.yaml", "--model", "mine_named.Net"]) == 0
        assert yaml.safe_load((place / "o/config.yaml").read_text())["model"]["init_args"]["width"] == 2
    finally:
        sys.modules.pop("mine_named", None)


@pytest.mark.parametrize("name", ["", "a b", "os;rm", "a.", "../x", "a/b.py"])
def test_what_is_no_name_cannot_be_trusted(name: str) -> None:
    with pytest.raises(InputError, match="--trust"), trusting([name]):
        pass
