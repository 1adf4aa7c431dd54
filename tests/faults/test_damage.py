"""One bit turned in each kind of file of a run: what is said, and what is made again by itself."""

import shutil
import warnings
from pathlib import Path

import pytest

from toughen.cli import main

RUN = [
    *("train", "--method", "Standard", "--epochs", "2", "--batch_size", "32", "--train_images", "128"),
    *("--val_images", "20", "--model", "SmallCNN", "--model.width", "4", "--device", "cpu", "--trackers", "[]"),
    *("--budget", "quick", "--test_images", "8", "--out"),
]
RESUME = ("train", "--resume", "RUN")
EVALUATE = ("evaluate", "RUN", "--budget", "quick", "--test_images", "8")
COMPARE = ("compare", "RUN", "WHOLE")
ONE = "evaluations/quick-linf-0.1-*"
SAID = {
    "config.yaml": (RESUME, 2, "config.yaml: unknown setting"),
    "classes.json": (EVALUATE, 2, "cannot read RUN/classes.json: it is damaged"),
    "metrics.csv": (RESUME, 0, "metrics.csv: damaged or missing, and made again from the checkpoints"),
    "model.safetensors": (RESUME, 0, "model.safetensors: damaged or missing, and made again from the checkpoints"),
    "manifest.json": (RESUME, 0, "warning: RUN/manifest.json is damaged"),
    "checkpoints/last/state.json": (RESUME, 0, "the run goes on from the one before it, RUN/checkpoints/previous"),
    "checkpoints/last/tensors.safetensors": (RESUME, 0, "the run goes on from the one before it"),
    "checkpoints/last/manifest.json": (RESUME, 0, "warning: RUN/checkpoints/last/manifest.json is damaged"),
    "result.json": (COMPARE, 2, "cannot read RUN/result.json: it is damaged"),
    "verdicts.parquet": (COMPARE, 2, "cannot read RUN/verdicts.parquet: it is damaged"),
    f"{ONE}/result.json": (EVALUATE, 2, "result.json: it is damaged"),
    f"{ONE}/verdicts.parquet": (EVALUATE, 2, "verdicts.parquet: it is damaged"),
    f"{ONE}/gallery.safetensors": (EVALUATE, 2, "gallery.safetensors: it is damaged"),
    "evaluations/own.json": (EVALUATE, 0, "RUN/evaluations/own.json is damaged"),
    "report.html": (EVALUATE, 0, "RUN/report.html is damaged, or was changed: delete it, and `toughen evaluate RUN`"),
    "data.json": (EVALUATE, 0, "RUN/data.json is damaged, or was changed: restore it"),
    "input.json": (COMPARE, 0, "RUN/input.json is damaged, or was changed: restore it"),
}
"""By file: a command that needs it, its exit status, and what it says."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("damage") / "whole"
    assert main([*RUN, str(run)]) == 0
    return run


def turn(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 4
    file.write_bytes(content)


def said_by(words: tuple[str, ...], run: Path, whole: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit status of a command, and what it says, in one line."""
    names = {"RUN": str(run), "WHOLE": str(whole)}
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        status = main([names.get(word, word) for word in words])
    told = " ".join([capfd.readouterr().err, *(f"warning: {each.message}" for each in warned)])
    return status, " ".join(told.replace(str(run), "RUN").split())


@pytest.mark.parametrize("file", SAID)
def test_a_turned_bit_is_named(whole: Path, tmp_path: Path, file: str, capfd: pytest.CaptureFixture[str]) -> None:
    run, (command, status, said) = tmp_path / "run", SAID[file]
    shutil.copytree(whole, run)
    (damaged,) = run.glob(file)
    content = damaged.read_bytes()
    turn(damaged, content.index(b"epochs") if file == "config.yaml" else len(content) // 2)
    found, told = said_by(command, run, whole, capfd)
    assert (found, said in told) == (status, True), told
    if command == RESUME and status == 0:
        assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.nightly
def test_no_file_of_a_run_is_forgotten(whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of every file that training and two evaluations leave: some command names it, or makes it again as it was."""
    rich = tmp_path / "rich"
    shutil.copytree(whole, rich)
    assert main(["evaluate", str(rich), "--budget", "quick", "--test_images", "8", "--threat.eps", "0.05"]) == 0
    silent = []
    for file in sorted(path.relative_to(rich) for path in rich.rglob("*") if path.is_file()):
        content = (rich / file).read_bytes()
        for eighth in (1, 4, 7):
            run = tmp_path / "run"
            shutil.copytree(rich, run)
            turn(run / file, len(content) * eighth // 8)
            told = " ".join(said_by(command, run, rich, capfd)[1] for command in (EVALUATE, COMPARE, RESUME))
            if f"RUN/{file}" not in told and (run / file).read_bytes() != content:
                silent.append((str(file), eighth))
            shutil.rmtree(run)
    assert silent == []
