from pathlib import Path

import numpy as np
import pytest
import torch

from toughen.data.npz import NpzImages, members
from toughen.errors import DataError


def colour(scans: np.ndarray) -> np.ndarray:
    """Three different scans as the channels of each image, N x 8 x 8 x 3."""
    return np.stack([scans, np.roll(scans, 1, 0), np.roll(scans, 2, 0)], axis=-1)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_those_that_numpy_reads(tmp_path: Path, scans: np.ndarray, save, order: str) -> None:
    path = tmp_path / "a.npz"
    save(path, image=np.asarray(colour(scans), order=order), label=np.arange(80), other=np.array(["a", "b"]))
    found = members(path)
    assert set(found) == {"image", "label", "other"}
    with np.load(path) as loaded:
        for name, member in found.items():
            assert (member.shape, member.dtype) == (loaded[name].shape, loaded[name].dtype)
            assert np.array_equal(member.read(), loaded[name])
    assert isinstance(found["image"].read(), np.memmap) == (save is np.savez)


def test_a_mapped_array_survives_other_members_before_it_and_large_zips(tmp_path: Path, scans: np.ndarray) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **{"a" * 90: np.arange(7), "image": colour(scans), "b": np.arange(3)})
    assert np.array_equal(members(path)["image"].read(), colour(scans))
    assert members(path)["image"].offset > members(path)["a" * 90].offset + 7 * 8


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_taken_images_are_channels_first(tmp_path: Path, scans: np.ndarray, save) -> None:
    path = tmp_path / "a.npz"
    save(path, image=colour(scans))
    images = NpzImages(members(path)["image"])
    chosen = torch.tensor([5, 79, 5, 0])
    assert len(images) == 80
    assert images.shape == (3, 8, 8)
    taken = images.take(chosen)
    assert taken.dtype == torch.uint8
    for image, index in zip(taken, chosen.tolist(), strict=True):
        for channel in range(3):
            assert np.array_equal(image[channel].numpy(), scans[index - channel])


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file at .*none\.npz; expected an \.npz file"):
        members(tmp_path / "none.npz")


def test_damaged_files(tmp_path: Path, scans: np.ndarray) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"a\.npz is not a readable \.npz file: .*numpy\.savez again"):
        members(path)
    np.savez(path, image=colour(scans))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is not a readable"):
        members(path)


def test_damaged_compressed_values(tmp_path: Path, scans: np.ndarray) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, image=colour(scans))
    whole = bytearray(path.read_bytes())
    for place in range(300, len(whole) - 300):
        whole[place] ^= 255
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"a\.npz is not a readable"):
        members(path)["image"].read()


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, image=np.array([{"a": 1}], dtype=object))
    member = members(path)["image"]
    with pytest.raises(DataError, match="'image' holds Python objects; expected numbers"):
        member.read()


def test_a_file_that_goes_while_it_is_used(tmp_path: Path, scans: np.ndarray) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, image=colour(scans))
    images = NpzImages(members(path)["image"])
    path.unlink()
    with pytest.raises(DataError, match=r"a\.npz is not a readable"):
        images.take(torch.tensor([0]))
