"""Test images that are not like the set that they stand for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from toughen.errors import ToughenWarning
from toughen.models import SmallCNN
from toughen.run import RunFolder

LINE = (
    "evaluate --model smallcnn --weights w.safetensors --data imagefolder --data.path photos --data.channels 1 "
    "--budget quick --device cpu --checks false --batch_size 30"
)


@pytest.fixture
def photos(tmp_path: Path) -> None:
    """Noise in three folders of 40 images, and a model's weights."""
    generator = np.random.default_rng(0)
    for name in ("apple", "banana", "cherry"):
        (tmp_path / "photos" / "test" / name).mkdir(parents=True)
        for number in range(40):
            picture = generator.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "photos" / "test" / name / f"{number}.png")
    save_file(SmallCNN(3, 1).state_dict(), tmp_path / "w.safetensors")


@pytest.mark.filterwarnings("ignore:the model says:toughen.errors.ToughenWarning")  # it is not trained
def test_the_first_images_of_a_folder_are_said_to_be_of_one_class(
    toughen: Callable[..., Any], photos: None, tmp_path: Path
) -> None:
    """30 of 120 images in the order of their classes, first and drawn by class."""
    unlike = "the 30 evaluated images are not like the 120 that they stand for: 100.0 % are of class apple"
    with pytest.warns(ToughenWarning, match=f"{unlike}.*of all images 33.3 %"):
        assert toughen(*LINE.split(), "--test_images", "30", "--sample", "first", "--out", "first").status == 0
    names = [finding["name"] for finding in RunFolder(tmp_path / "first").read_result()["preflight"]]
    assert "sample_unlike_set" in names

    drawn = toughen(*LINE.split(), "--test_images", "30", "--out", "drawn")
    assert drawn.status == 0
    assert "not like" not in drawn.out + drawn.err
    result = RunFolder(tmp_path / "drawn").read_result()
    assert result["sample"] == "by_class"
    assert [row["n"] for row in result["per_class"]] == [10, 10, 10]
