from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from toughen.data import Encoded
from toughen.data.encoded import SPAN, Files
from toughen.errors import DataError


@pytest.fixture
def files(tmp_path: Path, scans: np.ndarray) -> list[str]:
    paths = [str(tmp_path / f"{index}.png") for index in range(len(scans))]
    for path, scan in zip(paths, scans, strict=True):
        Image.fromarray(scan).save(path)
    return paths


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_take_gives_the_asked_images_in_the_asked_order(files: list[str], scans: np.ndarray, threads: int) -> None:
    store = Encoded(Files(files), channels=1)
    assert (len(store), store.shape) == (80, (1, 8, 8))
    wanted = torch.randint(0, 80, (3 * SPAN + 5,), generator=torch.Generator().manual_seed(0))
    taken = store.take(wanted)
    assert (taken.dtype, taken.device.type) == (torch.uint8, "cpu")
    np.testing.assert_array_equal(taken[:, 0].numpy(), scans[wanted])


def test_take_of_nothing(files: list[str]) -> None:
    assert Encoded(Files(files), channels=3).take(torch.arange(0)).shape == (0, 3, 8, 8)


def test_a_damaged_file_is_found_when_it_is_decoded(files: list[str], threads: int) -> None:
    damaged = Path(files[70])
    damaged.write_bytes(damaged.read_bytes()[:-40])
    store = Encoded(Files(files), channels=1)
    store.take(torch.arange(70))
    with pytest.raises(DataError, match=r"70\.png is not a readable image"):
        store.take(torch.arange(80))


def test_a_file_that_has_gone(files: list[str]) -> None:
    store = Encoded(Files(files), channels=1)
    Path(files[3]).unlink()
    with pytest.raises(DataError, match=r"cannot read .*3\.png: No such file"):
        store.take(torch.tensor([3]))


def test_two_sizes_are_an_error_unless_a_size_is_given(files: list[str]) -> None:
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(files[5])
    store = Encoded(Files(files), channels=1)
    expected = r"0\.png is 8 x 8 pixels, .*5\.png is 9 x 6; bring them to one size with --data\.size 6"
    with pytest.raises(DataError, match=expected):
        store.take(torch.tensor([4, 5]))
    with pytest.raises(DataError, match=expected):
        store.check_sizes()
    resized = Encoded(Files(files), channels=1, size=6)
    resized.check_sizes()
    assert resized.take(torch.tensor([4, 5])).shape == (2, 1, 6, 6)


def test_like_sets_the_size_and_is_named(files: list[str], tmp_path: Path) -> None:
    other = str(tmp_path / "other.png")
    Image.fromarray(np.zeros((8, 10), np.uint8)).save(other)
    store = Encoded(Files([other]), channels=1, like=Encoded(Files(files), channels=1))
    assert store.shape == (1, 8, 8)
    with pytest.raises(DataError, match=r"0\.png is 8 x 8 pixels, .*other\.png is 10 x 8"):
        store.take(torch.tensor([0]))
