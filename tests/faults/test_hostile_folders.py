"""A stranger's run folder whose links, pipes and names lead elsewhere: nothing outside it is touched, nothing hangs."""

import json
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from readers import make_run

from toughen.cli import main
from toughen.errors import RunError
from toughen.evaluation import EvaluationSpec
from toughen.evaluation.records.store import VerdictStore
from toughen.run import RunFolder
from toughen.run.lock import Lock
from toughen.run.manifest import damaged, seal
from toughen.training.checkpoint import begun_with, save_state

EVALUATE = ("evaluate", "run", "--budget", "quick", "--test_images", "8", "--device", "cpu")
COMMANDS = {
    "evaluate": EVALUATE,
    "resume": ("train", "--resume", "run"),
    "compare": ("compare", "run", "other"),
    "card": ("card", "run"),
    "export": ("export", "run"),
    "into": ("evaluate", "other", *EVALUATE[2:], "--out", "run"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder)
    save_state(folder / "run/checkpoints/last", {"epoch": 1, "begun": None})
    return folder


@pytest.fixture(autouse=True)
def place(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with two runs; a test that hangs ends."""
    monkeypatch.chdir(tmp_path)
    for run in ("run", "other"):
        shutil.copytree(runs / run, tmp_path / run)
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(120)
    yield tmp_path
    signal.alarm(0)


def refused(capsys: pytest.CaptureFixture[str], command: tuple[str, ...]) -> str:
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the runs have a part of their settings
        assert main([*command]) == 2
    said = capsys.readouterr().err
    assert said.startswith("toughen: ") and "Traceback" not in said
    return said


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A folder of the user's with what toughen deletes as left-overs in its own; it must stay as it is."""
    folder = tmp_path / "victim"
    for name in (".profile.old", ".x.0123abcd", "previous/mine", "last/mine", ".last.old/mine", "own.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    before = {path: path.is_dir() or path.read_text() for path in folder.rglob("*")}
    yield folder
    assert {path: path.is_dir() or path.read_text() for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    "name", ["checkpoints", "evaluations", "verdicts", "before", "code", "tensorboard", "evaluations/x", "verdicts/0"]
)
def test_a_folder_that_is_a_link_is_refused(name: str, victim: Path, place: Path, capsys) -> None:
    link = place / "run" / name
    if link.exists():
        link.rename(place / "aside")
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(victim)
    for command in COMMANDS.values():
        assert f"run/{name} is a link to {victim}" in refused(capsys, command)


def test_a_link_from_one_folder_of_a_run_to_another_is_none_of_those(place: Path) -> None:
    """As wandb makes one."""
    (place / "run/wandb/run-1").mkdir(parents=True)
    (place / "run/wandb/latest-run").symlink_to("run-1")
    (place / "linked").symlink_to("run")
    for run in ("run", "linked"):
        RunFolder(run).read_config()


@pytest.mark.parametrize("name", ["a" * 300, "../mine", "/dev/null", "checkpoints/last/state.json", ".."])
def test_a_manifest_that_names_what_is_no_file_of_its_folder(name: str, place: Path) -> None:
    (place / "mine").write_text("mine")
    sums = {name: ["0" * 64]}
    document = {"schema": 1, "own": seal(sums), "sha256": sums}
    for folder in (place / "run", place / "run/checkpoints/previous"):
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps(document))
    assert damaged(place / "run", checkpoints=True) == []


@pytest.mark.parametrize("linked", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("lock", [".lock", "evaluations/.lock"])
def test_a_lock_that_is_another_file_too_is_refused(
    linked: Callable[[Path, Path], None], lock: str, place: Path, capsys
) -> None:
    (place / "mine").write_text("mine")
    linked(place / "run" / lock, place / "mine")
    with pytest.raises(RunError, match="leads to something else"), Lock((place / "run" / lock).parent):
        pass
    assert "leads to something else" in refused(capsys, COMMANDS["resume" if lock == ".lock" else "evaluate"])
    assert (place / "mine").read_text() == "mine"


@pytest.mark.parametrize("special", ["pipe", "device"])
@pytest.mark.parametrize("file", ["manifest.json", "checkpoints/last/manifest.json", "checkpoints/last/state.json"])
def test_a_pipe_or_a_device_is_not_waited_for(special: str, file: str, place: Path, capsys) -> None:
    (place / "run" / file).unlink(missing_ok=True)
    if special == "pipe":
        os.mkfifo(place / "run" / file)
    else:
        (place / "run" / file).symlink_to("/dev/zero")
    refused(capsys, COMMANDS["resume"])
    if file.endswith("state.json"):
        assert begun_with(place / "run/checkpoints/last") == {}


@pytest.mark.parametrize("name", ["../../../canary", "/tmp/canary", "a/b", "..\\canary", "x\0y"])
def test_names_in_a_result_become_no_files_elsewhere(name: str, place: Path) -> None:
    store = VerdictStore(RunFolder(place / "new"), EvaluationSpec({"attacks": {}, "n": 1, "batch_size": 1}))
    for write in (lambda: store.note(name, {}), lambda: store.noted(name), lambda: store.read(0, name)):
        with pytest.raises(RunError, match="cannot be the name of a file"):
            write()
    assert not (place / "new").exists()


def test_a_recipe_replaces_no_run(place: Path, capsys) -> None:
    (place / "recipe.yaml").write_text("out: run\noverwrite: true\nepochs: 1\n")
    assert "recipe.yaml: overwrite: a file cannot say what is replaced" in refused(
        capsys, ("train", "--config", "recipe.yaml")
    )
    assert (place / "run/config.yaml").exists()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**12),
        torch.sparse_coo_tensor(torch.tensor([[0]]), torch.tensor([1.0]), (10**12,), check_invariants=True),
        torch.empty(10**12, device="meta"),
        torch.nested.nested_tensor([torch.zeros(2)], layout=torch.jagged),
    ],
    ids=["expanded", "sparse", "meta", "nested"],
)
def test_a_small_file_of_weights_that_is_a_large_tensor(tensor: torch.Tensor, place: Path, capsys) -> None:
    torch.save({"conv.weight": torch.zeros(3, 3), "pos_embed": tensor}, place / "init.pt")
    small = ("--epochs", "1", "--budget", "none", "--trackers", "[]", "--device", "cpu", "--out", "o")
    assert "init.pt" in refused(capsys, ("train", "--init", "init.pt", *small))
