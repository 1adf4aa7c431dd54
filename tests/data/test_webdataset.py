"""Tar shards that are not what they should be; none of their members is run or unpacked."""

import gzip
import json
import pickle
import tarfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from toughen.data import WebDataset
from toughen.errors import DataError, ToughenError

Write = Callable[..., Path]


@pytest.fixture
def write(scans: np.ndarray, digits: np.ndarray) -> Write:
    """Writes chosen scans as a shard; `more` members come after each sample."""

    def shard(path: Path, chosen: Sequence[int], more: Mapping[str, bytes] | None = None) -> Path:
        with tarfile.open(path, "w") as archive:
            for index in chosen:
                file = BytesIO()
                Image.fromarray(scans[index]).save(file, "PNG")
                notes = {"png": file.getvalue(), "cls": f"{digits[index]}\n".encode(), **(more or {})}
                for ending, data in notes.items():
                    member = tarfile.TarInfo(f"./{index:03d}.{ending}" if ending != "cls" else f"./{index:03d}.CLS")
                    member.size = len(data)
                    archive.addfile(member, BytesIO(data))
        return path

    return shard


def test_images_of_several_shards(tmp_path: Path, write: Write, scans: np.ndarray, digits: np.ndarray) -> None:
    for number in range(3):
        write(tmp_path / f"train-{number:06d}.tar", range(20 * number, 20 * number + 20), {"json": b"{}", "txt": b"x"})
    write(tmp_path / "val.tar", range(60, 80))
    source = WebDataset(tmp_path, channels=1)
    for split, chosen in (("train", range(60)), ("test", range(60, 80))):
        images = source.load(split)
        order = sorted(chosen, key=lambda index: (digits[index], index))
        np.testing.assert_array_equal(images.labels, digits[order])
        np.testing.assert_array_equal(images.images.take(torch.arange(len(order)))[:, 0], scans[order])
    assert images.classes == tuple("0123456789")


class Canary:
    def __reduce__(self) -> Any:
        return (Path("canary").touch, ())


def test_members_that_would_run_a_program_are_not_read(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    harm = {ending: pickle.dumps(Canary()) for ending in ("pyd", "pickle", "pkl", "pth", "npy")}
    write(tmp_path / "all.tar", range(20), harm)
    assert len(WebDataset(tmp_path).load("train")) == 10
    with pytest.raises(DataError, match="holds no class"):
        WebDataset(tmp_path, label="pyd").load("train")
    assert [path.name for path in tmp_path.iterdir()] == ["all.tar"]


def test_nothing_is_unpacked_and_no_link_followed(tmp_path: Path, write: Write) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    shard = write(folder / "all.tar", range(20))
    with tarfile.open(shard, "a") as archive:
        for name, kind, to in (("../out.png", tarfile.REGTYPE, ""), ("x.png", tarfile.SYMTYPE, "/etc/passwd")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, to
            archive.addfile(member, BytesIO(b""))
    with pytest.raises(DataError, match=r"sample \.\./out has no class|sample .* has no class"):
        WebDataset(folder).load("train")
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


@pytest.mark.parametrize("name", ["pipe:touch canary", "pipe:touch canary #.tar"])
def test_a_path_is_no_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no folder at pipe:"):
        WebDataset(name).load("train")
    assert not any(tmp_path.iterdir())


def expect(folder: Path, message: str) -> None:
    with pytest.raises(DataError, match=message):
        WebDataset(folder).load("train")


def test_shards_that_are_damaged_or_compressed(tmp_path: Path, write: Write) -> None:
    expect(tmp_path, r"has no \*\.tar; found: nothing")
    shard = write(tmp_path / "all.tar", range(40))
    data = shard.read_bytes()
    for kept in (10_000, 10_240, 10_300, 1024, 512):  # within an image, after a member, within a header
        shard.write_bytes(data[:kept])
        expect(tmp_path, r"cannot read .*all\.tar: it (breaks off|ends within|is no tar)")
    shard.write_bytes(data[:10_240] + b"\xff" * 512 + data[10_752:])
    expect(tmp_path, r"cannot read .*all\.tar: ")
    shard.write_bytes(data + data)
    expect(tmp_path, "breaks off, or is damaged, at byte")
    shard.write_bytes(gzip.compress(data))
    expect(tmp_path, "it is no tar, or a damaged or compressed one")


def test_samples_without_a_class_or_an_image(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "all.tar", range(20))
    with pytest.raises(DataError, match=r"sample \./000 has no class; expected a member ending in json"):
        WebDataset(tmp_path, label="json").load("train")
    write(tmp_path / "all.tar", range(20), {"json": json.dumps({"label": [1]}).encode()})
    with pytest.raises(DataError, match=r"\./000\.json holds no class"):
        WebDataset(tmp_path, label="json").load("train")
    write(tmp_path / "all.tar", range(20), {"json": b"{"})
    with pytest.raises(DataError, match="it is not JSON"):
        WebDataset(tmp_path, label="json").load("train")
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("1.cls"))
    expect(tmp_path, r"sample 1 has no image; expected a member ending in \.bmp")
    write(tmp_path / "train-0.tar", range(20))
    with pytest.raises(DataError, match=r"has no test-\*\.tar"):
        WebDataset(tmp_path).load("test")


def test_a_library_that_is_not_installed(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "all.tar", range(20))
    monkeypatch.setitem(__import__("sys").modules, "webdataset.tariterators", None)
    with pytest.raises(ToughenError, match=r"pip install 'toughen\[webdataset\]'"):
        WebDataset(tmp_path).load("train")
