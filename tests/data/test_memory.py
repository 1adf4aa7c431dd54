from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image

from toughen.data import Decoded, Encoded, ImageFolder, ImageSet, hold
from toughen.data.memory import HOST_SHARE, budget
from toughen.errors import DataError


@pytest.fixture
def encoded(tmp_path: Path, write_folder: Callable[..., None]) -> ImageSet:
    write_folder(tmp_path / "train", range(80))
    return ImageFolder(tmp_path, channels=1).load("train")


@pytest.mark.parametrize("chunk", [7, 4096])
def test_what_fits_is_decoded_once(encoded: ImageSet, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toughen.data.memory.CHUNK", chunk)
    held = hold(encoded, "cpu", limit=80 * 64)
    assert isinstance(held.images, Decoded)
    everything = torch.arange(80)
    assert torch.equal(held.images.tensor, encoded.images.take(everything))
    assert held.labels is encoded.labels
    assert (held.classes, held.name) == (encoded.classes, encoded.name)


def test_what_does_not_fit_stays_encoded(encoded: ImageSet) -> None:
    held = hold(encoded, "cpu", limit=80 * 64 - 1)
    assert held is encoded
    assert isinstance(held.images, Encoded)


def test_sizes_are_checked_before_a_run_even_where_nothing_is_decoded(encoded: ImageSet, tmp_path: Path) -> None:
    odd = sorted((tmp_path / "train" / "9").iterdir())[-1]
    Image.new("L", (9, 9)).save(odd)
    with pytest.raises(DataError, match=rf"{odd} is 9 x 9"):
        hold(encoded, "cpu", limit=0)


def test_decoded_images_stay_where_they_are(small_set: ImageSet) -> None:
    assert hold(small_set, "cpu", limit=0) is small_set


def test_decoded_images_move_to_the_device_if_they_fit(small_set: ImageSet) -> None:
    # The meta device stands in for an accelerator: it has no memory, but tensors live on it.
    moved = hold(small_set, "meta", limit=80 * 64)
    assert isinstance(moved.images, Decoded)
    assert (moved.images.tensor.device.type, moved.shape) == ("meta", (1, 8, 8))
    assert hold(small_set, "meta", limit=0) is small_set


def test_the_budget_is_a_share_of_the_available_memory() -> None:
    available = psutil.virtual_memory().available
    assert budget("cpu") == pytest.approx(HOST_SHARE * available, rel=0.1)
