"""`compare --transfer` on real runs: every model against the images of every model."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from toughen.commands.compare import compare
from toughen.commands.evaluate import evaluate
from toughen.commands.train import train
from toughen.data import Digits, ImageSet, sample_by_class
from toughen.errors import InputError, RunError
from toughen.evaluation import Verdicts, load_model
from toughen.methods import TRADES, Standard
from toughen.models import SmallCNN
from toughen.models.inference import classes_of
from toughen.run import RunFolder
from toughen.threat import ThreatModel

pytestmark = pytest.mark.usefixtures("short_self_checks")


@pytest.fixture(scope="module")
def runs(short_self_checks: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two methods, and one of them at another radius."""
    place = tmp_path_factory.mktemp("runs")
    common = {"epochs": 1, "budget": "quick", "test_images": 24, "trackers": [], "device": "cpu", "train_images": 400}
    methods = {"standard": Standard(), "trades": TRADES()}
    for name, method in methods.items():
        train(model=partial(SmallCNN, width=4), method=method, out=str(place / name), **common)
    evaluate(
        str(place / "trades"),
        threat=ThreatModel("linf", 0.02),
        budget="quick",
        test_images=24,
        device="cpu",
        out=str(place / "far"),
    )
    return {path.name: str(path) for path in place.iterdir()}


def test_matrix(runs: dict[str, str], tmp_path: Path):
    told: list[str] = []
    folders = [runs["standard"], runs["trades"]]
    comparison = compare(
        folders, transfer=True, transfer_images=10, device="cpu", out=str(tmp_path / "a.html"), progress=told.append
    )
    matrix = comparison.transfer
    assert matrix is not None
    assert told == list(matrix.names) == [run.name for run in comparison.runs]
    table = Verdicts.read(RunFolder(runs["trades"]).verdicts).table
    places, evaluated = (torch.tensor(table[name].to_pylist()) for name in ("index", "label"))
    images, labels = Digits().load("test").subset(places[sample_by_class(evaluated, 10, seed=0)])
    for place, name in enumerate(matrix.names):
        right = classes_of(load_model(RunFolder(runs[name])), images) == labels
        assert matrix.clean[place].tolist() == right.tolist()
    assert compare(folders, transfer=True, device="cpu", out=str(tmp_path / "b.html")).transfer.n == 24  # type: ignore[union-attr]
    page = (tmp_path / "a.html").read_text()
    for source in range(2):
        for target in range(2):
            figure = matrix.figure(source, target)
            assert f"{figure['held']} of 10" in page


def test_runs_of_another_threat_cannot_be_shown_each_others_images(runs: dict[str, str], tmp_path: Path):
    with pytest.raises(InputError, match=r"on the same images under one threat model, but .* has threat linf 0\.\d+"):
        compare([runs["standard"], runs["far"]], transfer=True, out=str(tmp_path / "a.html"))
    assert compare([runs["standard"], runs["far"]], out=str(tmp_path / "a.html")).others


def test_one_run_and_no_images_are_refused(runs: dict[str, str], tmp_path: Path):
    with pytest.raises(InputError, match="at least two runs"):
        compare([runs["standard"]], transfer=True, out=str(tmp_path / "a.html"))
    with pytest.raises(InputError, match="transfer_images: expected at least 1, got 0"):
        compare(list(runs.values()), transfer=True, transfer_images=0, out=str(tmp_path / "a.html"))


def test_a_model_that_lies_elsewhere_is_found(runs: dict[str, str], tmp_path: Path):
    """A folder with an evaluation alone names the weights in its configuration."""
    again = str(tmp_path / "again")
    evaluate(runs["trades"], budget="quick", test_images=24, device="cpu", out=again)
    assert not (tmp_path / "again/model.safetensors").exists()
    matrix = compare([runs["trades"], again], transfer=True, device="cpu", out=str(tmp_path / "a.html")).transfer
    assert matrix is not None
    # The same model twice: its images do to the copy what they do to itself.
    assert (matrix.held == matrix.held[0, 0]).all()


def test_other_labels_than_those_evaluated_are_noticed(
    runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Digits, "load", shifted(Digits.load))
    with pytest.raises(RunError, match="have other labels than those that were evaluated"):
        compare([runs["trades"], runs["standard"]], transfer=True, out=str(tmp_path / "a.html"))


def shifted(load: Callable[..., ImageSet]) -> Callable[..., ImageSet]:
    """Loads a split whose labels are one higher."""

    def changed(self: Digits, split: str) -> ImageSet:
        images = load(self, split)
        return replace(images, labels=(images.labels + 1) % 10)

    return changed
