"""A model's classes are matched by name with those of other images."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from toughen import compare, evaluate, train
from toughen.data import DataSource, Decoded, ImageFolder, ImageSet, Split
from toughen.errors import InputError, RunError
from toughen.methods import Standard
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.threat import ThreatModel

LEVELS = {"cat": 0.2, "dog": 0.5, "eel": 0.8}
"""Brightness of a class's images."""
QUICK = {"budget": "quick", "device": "cpu", "checks": False, "batch_size": 24}


class Brightness(nn.Module):
    """Logits `2 c_k m - c_k^2` of an image of mean m: the class whose level c_k is the nearest, cat, dog or eel."""

    def __init__(self) -> None:
        super().__init__()
        levels = torch.tensor(list(LEVELS.values()))
        self.layer = nn.Linear(64, 3)
        self.layer.weight.data = (2 * levels / 64)[:, None].expand(3, 64).contiguous()
        self.layer.bias.data = -levels.square()

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))


class Pets(DataSource):
    """Eight even images of a class, of a slightly different brightness, counted in the order of `names`."""

    def __init__(self, names: tuple[str, ...] = tuple(LEVELS)) -> None:
        self.names = names

    def load(self, split: Split) -> ImageSet:
        labels = torch.arange(len(self.names)).repeat_interleave(8)
        values = torch.tensor([round(255 * LEVELS.get(name, 0.2)) for name in self.names])[labels]
        pixels = (values + torch.arange(len(labels)) % 8)[:, None, None, None].expand(-1, 1, 8, 8)
        return ImageSet(Decoded(pixels.byte().contiguous()), labels, tuple(self.names), "pets")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run as training leaves it, of a model that is right on every image."""
    folder = RunFolder(tmp_path / "run")
    folder.create()
    save_file(Brightness().eval().state_dict(), folder.model)
    folder.write_classes(tuple(LEVELS))
    threat = describe(ThreatModel("linf", 0.05))
    folder.write_config({"model": describe(Brightness()), "data": describe(Pets()), "threat": threat})
    return folder


def figures(path: Path | str, **settings) -> tuple[float, float]:
    result = evaluate(str(path), **{**QUICK, "model": Brightness().eval(), **settings}).result
    return result["figures"]["clean"]["accuracy"], result["robust_accuracy"]["accuracy"]


def test_the_same_names_in_another_order_give_the_same_figures(run: RunFolder, tmp_path: Path) -> None:
    """The gap of the levels is 0.3, so that 0.05 breaks nothing; labels taken as they are would give 1 of 3."""
    assert figures(run.path, data=Pets()) == (1, 1)
    evaluation = evaluate(
        str(run.path), model=Brightness().eval(), data=Pets(("eel", "dog", "cat")), out=str(tmp_path / "other"), **QUICK
    )
    assert evaluation.result["figures"]["clean"]["accuracy"] == evaluation.result["robust_accuracy"]["accuracy"] == 1
    assert evaluation.result["data"]["classes"] == ["cat", "dog", "eel"]
    assert sorted(evaluation.verdicts.table["label"].to_pylist()[:8]) != [0] * 8  # drawn by class
    by_place = dict(zip(*(evaluation.verdicts.table[name].to_pylist() for name in ("index", "label")), strict=True))
    assert [by_place[place] for place in range(24)] == [2] * 8 + [1] * 8 + [0] * 8


def write_folder(root: Path, names: tuple[str, ...]) -> None:
    for split in ("train", "test"):
        for name, level in zip(names, LEVELS.values(), strict=True):
            (root / split / name).mkdir(parents=True)
            for number in range(8):
                picture = np.full((8, 8), round(255 * level) + number, np.uint8)
                Image.fromarray(picture).save(root / split / name / f"{number}.png")


def test_a_renamed_class_folder_is_refused_with_both_lists(run: RunFolder, tmp_path: Path) -> None:
    """A cat that is called zebra would be counted last: 0 of 3 classes right."""
    write_folder(tmp_path / "photos", tuple(LEVELS))
    data = ImageFolder(tmp_path / "photos", channels=1)
    assert figures(run.path, data=data) == (1, 1)
    for split in ("train", "test"):
        (tmp_path / "photos" / split / "cat").rename(tmp_path / "photos" / split / "zebra")
    with pytest.raises(InputError) as error:
        figures(run.path, data=data)
    said = str(error.value)
    assert "missing there cat; unknown here zebra" in said
    assert f"{run.classes}: cat, dog, eel\n" in said
    assert "photos: dog, eel, zebra\n" in said
    # Weights from elsewhere come without names: nothing can be compared.
    shutil.copy(run.model, tmp_path / "weights.safetensors")
    weights, out = str(tmp_path / "weights.safetensors"), str(tmp_path / "out")
    result = evaluate(model=Brightness().eval(), weights=weights, data=data, out=out, **QUICK).result
    assert result["figures"]["clean"]["accuracy"] == 0


def test_names_beside_the_weights_are_matched_without_a_run(run: RunFolder, tmp_path: Path) -> None:
    given = {"model": Brightness().eval(), "weights": str(run.model), "out": str(tmp_path / "out"), **QUICK}
    result = evaluate(data=Pets(("dog", "eel", "cat")), threat=ThreatModel("linf", 0.05), **given).result
    assert result["figures"]["clean"]["accuracy"] == 1
    with pytest.raises(InputError, match=r"pets: cat, cow, eel"):
        evaluate(data=Pets(("cat", "cow", "eel")), **given)


def test_a_model_that_attacks_for_another_has_its_classes_in_its_order(run: RunFolder, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "other")
    shutil.copytree(run.path, other.path)
    other.write_classes(("dog", "cat", "eel"))
    with pytest.raises(InputError, match=r"same in another order.\n .*: dog, cat, eel\n  expected: cat, dog, eel"):
        figures(run.path, data=Pets(), transfer=[str(other.path)])


def test_damaged_names_are_an_error(run: RunFolder) -> None:
    for text in ("[1, 2", '["cat", 3]', '{"cat": 1}'):
        run.classes.write_text(text)
        with pytest.raises(RunError, match=r"cannot read .*classes.json"):
            figures(run.path, data=Pets())


def test_a_run_keeps_its_names_and_goes_on_with_them(tmp_path: Path) -> None:
    """A resumed run counts the classes as it did, and refuses others; before, it learned on with other labels."""
    out = str(tmp_path / "run")
    settings = {"method": Standard(), "epochs": 1, "batch_size": 8, "val_images": 3, "trackers": [], "device": "cpu"}
    train(data=Pets(("dog", "cat", "eel")), budget="none", out=out, **settings)
    folder = RunFolder(out)
    assert folder.read_classes() == ("dog", "cat", "eel")
    config = folder.read_config()
    config["data"] = describe(Pets(("dog", "cow", "eel")))
    folder.write_config(config)
    with pytest.raises(RunError, match=r'now \["dog", "cow", "eel"\]'):
        train(resume=out, device="cpu", trust=[__name__])


def test_the_transfer_matrix_counts_the_classes_as_the_evaluations_did(run: RunFolder, tmp_path: Path) -> None:
    """Both runs were evaluated on data of another order; loaded again, its labels are those that were evaluated."""
    second = RunFolder(tmp_path / "second")
    shutil.copytree(run.path, second.path)
    for folder in (run, second):
        config = folder.read_config()
        folder.write_config({**config, "data": describe(Pets(("eel", "dog", "cat")))})
        figures(folder.path, trust=[__name__])
    compared = compare(
        [str(run.path), str(second.path)], transfer=True, device="cpu", out=str(tmp_path / "c.html"), trust=[__name__]
    )
    assert compared is not None
