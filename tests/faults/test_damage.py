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
}
"""By file: a command that needs it, its exit status, and what it says."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("damage") / "whole"
    assert main([*RUN, str(run)]) == 0
    return run


@pytest.mark.parametrize("file", SAID)
def test_a_turned_bit_is_named(whole: Path, tmp_path: Path, file: str, capfd: pytest.CaptureFixture[str]) -> None:
    run, (command, status, said) = tmp_path / "run", SAID[file]
    shutil.copytree(whole, run)
    (damaged,) = run.glob(file)
    content = bytearray(damaged.read_bytes())
    place = content.index(b"epochs") if file == "config.yaml" else len(content) // 2
    content[place] ^= 4
    damaged.write_bytes(content)
    names = {"RUN": str(run), "WHOLE": str(whole)}
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = main([names.get(word, word) for word in command])
    told = " ".join([capfd.readouterr().err, *(f"warning: {each.message}" for each in warned)])
    assert (found, said in " ".join(told.replace(str(run), "RUN").split())) == (status, True), told
    if command == RESUME and status == 0:
        assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
