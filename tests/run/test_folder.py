import errno
import os
import re
import resource
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from run_files import write_evaluation
from safetensors.torch import save_file

from toughen.errors import RunError, ToughenWarning
from toughen.run import RunFolder, atomic


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(entry.name for entry in folder.iterdir())


def tree(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def replace(path: Path, write: Callable[[Path], object], error: BaseException | None = None) -> None:
    """Write beside `path`, then stop with the error where there is one."""
    with atomic(path) as temporary:
        write(temporary)
        if error is not None:
            raise error


def make_folder(content: dict[str, str]) -> Callable[[Path], None]:
    """What writes a folder with these files."""

    def write(folder: Path) -> None:
        for name, text in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    return write


def test_a_file_takes_its_place_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with atomic(path) as temporary:
        assert temporary.parent == path.parent  # a rename is atomic only within one disk
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["result.json"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    replace(tmp_path / "a" / "b" / "file", lambda file: file.write_text("new"))
    assert tree(tmp_path) == {"a/b/file": "new"}


def test_a_file_has_the_users_permissions(tmp_path: Path) -> None:
    """Not the private ones of a temporary file: others may read a report."""
    replace(tmp_path / "report.html", lambda file: file.write_text("report"))
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "report.html").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("before", [{"config.yaml": "old"}, {}], ids=["replaced", "new"])
def test_half_a_file_leaves_the_old_one(tmp_path: Path, error: BaseException, before: dict[str, str]) -> None:
    make_folder(before)(tmp_path)
    with pytest.raises(type(error)):
        replace(tmp_path / "config.yaml", lambda file: file.write_text("ne"), error)
    assert tree(tmp_path) == before


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "last"
    for content in ({"a": "1", "sub/b": "2"}, {"c": "3"}):
        replace(path, make_folder(content))
        assert tree(path) == content
        assert names(tmp_path) == ["last"]


def test_half_a_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "last"
    replace(path, make_folder({"state.json": "old", "tensors": "old"}))
    with pytest.raises(RuntimeError):
        replace(path, make_folder({"state.json": "new"}), RuntimeError())
    assert tree(path) == {"state.json": "old", "tensors": "old"}
    assert names(tmp_path) == ["last"]


def test_what_an_earlier_crash_left_is_no_obstacle(tmp_path: Path) -> None:
    make_folder({"last/state.json": "old", ".last.old/state.json": "older"})(tmp_path)
    replace(tmp_path / "last", make_folder({"state.json": "new"}))
    assert tree(tmp_path) == {"last/state.json": "new"}


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "last").write_text("a text")
    with pytest.raises(RunError, match=r"cannot write .*last: "):
        replace(tmp_path / "last", make_folder({"state.json": "new"}))
    assert tree(tmp_path) == {"last": "a text"}
    assert names(tmp_path) == ["last"]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """/dev/full stands in for one: every write to it fails."""

    def write(file: Path) -> None:
        file.symlink_to("/dev/full")
        file.write_text("new")

    path = tmp_path / "model.safetensors"
    path.write_text("old")
    with pytest.raises(RunError, match=f"cannot write {path}: .*; free space or choose another --out"):
        replace(path, write)
    assert tree(tmp_path) == {"model.safetensors": "old"}
    assert names(tmp_path) == ["model.safetensors"]


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write .*report\.html: No such file"):
        replace(tmp_path / "report.html", lambda _: None)


def test_a_name_that_the_disk_refuses(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write .*x: File name too long"):
        replace(tmp_path / ("x" * 255), lambda file: file.write_text("new"))


def test_what_a_disk_says_through_safetensors_is_said(tmp_path: Path) -> None:
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(RunError, match="cannot write .*weights: File too large; free space"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, usual[1]))
            replace(tmp_path / "weights", lambda file: save_file({"x": torch.zeros(10_000)}, file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = RunFolder(tmp_path / "file" / "run")
    message = f"cannot write to {run.path}: .*; choose another folder with --out"
    with pytest.raises(RunError, match=message):
        run.create()
    with pytest.raises(RunError, match=message):
        run.write_config({})


def test_create(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "runs" / "arow")
    run.create()
    run.create()  # an empty folder is as good as none
    assert run.path.is_dir()
    assert run.name == "arow"


def test_an_existing_run_is_not_replaced_unasked(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    config = {"data": {}, "model": {}, "epochs": 3}
    run.write_config(config)
    run.write_result({"robust": 0.5})
    with pytest.raises(RunError) as caught:
        run.create()
    assert str(caught.value) == (
        f"{run.path} exists and is not empty; give another --out, go on with it (--resume {run.path}) "
        "or replace it (--overwrite)"
    )
    assert run.read_config() == config
    with run.making(overwrite=True):
        assert names(run.path) == []
    assert names(tmp_path) == ["run"], "the earlier run is gone once the new one is prepared"


def test_a_run_that_cannot_be_prepared_replaces_nothing(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_config({"data": {}, "model": {}})
    (run.path / "model.safetensors").write_text("weights")
    before = tree(tmp_path)
    with pytest.raises(KeyboardInterrupt), run.making(overwrite=True):
        run.write_config({"data": {}, "model": {}, "epochs": 3})
        raise KeyboardInterrupt
    assert tree(tmp_path) == before


@pytest.mark.parametrize("fails", [False, True])
def test_a_link_to_a_run_stays_and_the_run_is_replaced(tmp_path: Path, fails: bool) -> None:
    disk, link = RunFolder(tmp_path / "disk" / "run"), tmp_path / "run"
    disk.write_config({"data": {}, "model": {}, "epochs": 1})
    link.symlink_to(disk.path)
    with suppress(KeyboardInterrupt), RunFolder(link).making(overwrite=True):
        RunFolder(link).write_config({"data": {}, "model": {}, "epochs": 2})
        if fails:
            raise KeyboardInterrupt
    assert link.is_symlink() and link.resolve() == disk.path
    assert disk.read_config()["epochs"] == (1 if fails else 2)
    assert names(tmp_path) == ["disk", "run"] and names(disk.path.parent) == ["run"]


def test_a_link_that_leads_to_nothing_yet(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path / "disk" / "run")
    RunFolder(tmp_path / "run").create()
    assert (tmp_path / "disk" / "run").is_dir() and (tmp_path / "run").is_symlink()


def test_a_run_on_a_mounted_disk_of_its_own_cannot_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """rename(2): EBUSY where a folder is a mount point."""
    run = RunFolder(tmp_path / "run")
    run.write_config({"data": {}, "model": {}})
    before = tree(tmp_path)

    def busy(self: Path, target: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(self))

    monkeypatch.setattr(Path, "rename", busy)
    with (
        pytest.raises(RunError, match=f"cannot move {run.path} to .*: Device or resource busy; .*--out"),
        run.making(overwrite=True),
    ):
        pass
    assert tree(tmp_path) == before


def test_what_a_killed_overwrite_left_is_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run [1]")
    run.write_config({"data": {}, "model": {}})
    killed = run.making(overwrite=True)
    killed.__enter__()  # and never the other half
    run.write_config({"data": {}, "model": {}})
    left = [path for path in tmp_path.iterdir() if path != run.path]
    (tmp_path / ".run [1].anything").mkdir()
    assert len(left) == 1
    message = f"stopped left an earlier run in {re.escape(str(left[0]))}; move it back or delete it"
    with pytest.raises(RunError, match=message):
        run.check_free(overwrite=False)
    with pytest.warns(ToughenWarning, match=message):
        assert run.check_free(overwrite=True)
    shutil.rmtree(run.path)
    with pytest.warns(ToughenWarning, match=message):
        assert not run.check_free(overwrite=False)


def test_overwrite_deletes_only_runs(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("a photo")
    (tmp_path / "file").write_text("a text")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "config.yaml").write_text("server: localhost")
    before = tree(tmp_path)
    for path in (tmp_path / "photos", tmp_path / "file", tmp_path / "project"):
        with (
            pytest.raises(RunError, match=f"{path} is not a run folder .*--overwrite does not delete it"),
            RunFolder(path).making(overwrite=True),
        ):
            pass
    assert tree(tmp_path) == before


def test_config_and_result_come_back(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    config = {
        "zeta": 1,
        "eps": "8/255",
        "model": {"class_path": "m.N", "init_args": {}},
        "on": [1.5, None, True],
    }
    run.write_config(config)
    RunFolder(tmp_path / "other").create()
    write_evaluation(RunFolder(tmp_path / "other"), n=20, seed=0, strength=1.0)
    result = RunFolder(tmp_path / "other").read_result()
    run.write_result(result | {"mine": config})
    assert run.read_config() == config
    assert run.read_result() == result | {"mine": config}
    assert list(run.read_config()) == list(config), "the order is the user's"
    assert names(run.path) == ["config.yaml", "manifest.json", "result.json"]


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("config", "toughen train --out {}"),
        ("model", "toughen train --out {}"),
        ("metrics", "toughen train --out {}"),
        ("result", "toughen evaluate {}"),
        ("verdicts", "toughen evaluate {}"),
        ("gallery", "toughen evaluate {}"),
        ("report", "toughen evaluate {}"),
    ],
)
def test_a_missing_file_names_the_command_that_makes_it(tmp_path: Path, file: str, command: str) -> None:
    run = RunFolder(tmp_path)
    path: Path = getattr(run, file)
    with pytest.raises(RunError) as caught:
        run.require(path)
    assert str(caught.value) == f"{tmp_path} has no {path.name}; make it with `{command.format(tmp_path)}`"
    path.touch()
    run.require(path)


def test_what_a_missing_file_is_made_by_needs_the_runs_trust(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    (tmp_path / "config.yaml").write_text(
        "model: {class_path: mine.Net}\nmethod: {class_path: toughen.methods.TRADES}\n"
    )
    with pytest.raises(RunError, match=r"`toughen evaluate .* --trust mine.Net`"):
        run.require(run.report)


def test_a_run_that_was_stopped_is_resumed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.checkpoint.mkdir(parents=True)
    with pytest.raises(RunError, match=f"no model.safetensors; make it with `toughen train --resume {tmp_path}`"):
        run.require(run.checkpoint, run.model)


def test_no_run_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "nothing")
    for read in (run.require, run.read_config, run.read_result):
        with pytest.raises(RunError, match=f"no run folder at {run.path}; expected .* made by `toughen train`"):
            read()


@pytest.mark.parametrize("content", [b"epochs: [", b"\xff\xfe\x00", b"", b"just text", b"- 1\n- 2\n"])
def test_a_damaged_configuration_is_named(tmp_path: Path, content: bytes) -> None:
    run = RunFolder(tmp_path)
    run.config.write_bytes(content)
    with pytest.raises(RunError, match=f"cannot read {re.escape(str(run.config))}: (.|\n)*; restore the file"):
        run.read_config()


@pytest.mark.parametrize("content", [b'{"schema": 1', b"\xff\xfe\x00", b""])
def test_a_damaged_result_names_the_command_that_makes_it_again(tmp_path: Path, content: bytes) -> None:
    run = RunFolder(tmp_path)
    run.result.write_bytes(content)
    with pytest.raises(RunError, match=f"cannot read {run.result}: .*`toughen evaluate {tmp_path} --overwrite`"):
        run.read_result()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_umask_says_who_may_read(tmp_path: Path, umask: int, mode: int):
    """The library of safetensors writes for the owner alone."""
    before = os.umask(umask)
    try:
        replace(tmp_path / "weights", lambda path: save_file({"a": torch.zeros(1)}, path))
        with atomic(tmp_path / "checkpoint") as folder:
            folder.mkdir()
            save_file({"a": torch.zeros(1)}, folder / "tensors")
            (folder / "text").write_text("a")
    finally:
        os.umask(before)
    files = [tmp_path / "weights", tmp_path / "checkpoint" / "tensors", tmp_path / "checkpoint" / "text"]
    assert [file.stat().st_mode & 0o777 for file in files] == [mode] * 3
    assert names(tmp_path) == ["checkpoint", "weights"]
