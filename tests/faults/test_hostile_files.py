"""Files that were made to harm: each is refused in one sentence, in about a second, and nothing else happens."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from readers import make_folder, make_run, make_shards

from toughen.cli import main
from toughen.data import CIFAR10, Digits, ExtraImages, ImageFolder, Parquet
from toughen.data.tensors import image_set
from toughen.errors import DataError, InputError, ToughenError
from toughen.hardware.memory import forget_peak_memory, peak_memory
from toughen.models.load import load
from toughen.reading.files import check_file
from toughen.run import RunFolder

CPU = torch.device("cpu")
SMALL = ["--epochs", "1", "--budget", "none", "--trackers", "[]", "--device", "cpu", "--model.width", "2"]


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each test takes few seconds of the processor and few hundred MB, with the making of its files."""
    monkeypatch.chdir(tmp_path)
    forget_peak_memory(CPU)
    before, began = peak_memory(CPU), process_time()
    yield
    assert process_time() - began < 4 and peak_memory(CPU) - before < 500e6


def refused(capsys: pytest.CaptureFixture[str], *words: str, lines: int | None = 1) -> str:
    """What the command line says: one sentence and no traceback; a list of images has more lines."""
    capsys.readouterr()
    assert main(list(words)) == 2
    said = capsys.readouterr().err
    assert said.startswith("toughen: ") and lines in (None, said.count("\n"))
    return said


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [fifo, device])
def test_a_pipe_or_a_device_among_images(make: Callable[[Path], None], tmp_path: Path, capsys) -> None:
    make_folder(tmp_path)
    make(tmp_path / "train" / "0" / "a.png")
    said = refused(capsys, "train", "--data", "image_folder", "--data.path", str(tmp_path), *SMALL, lines=None)
    assert "a.png" in said and ("a pipe" in said or "a device" in said)


@pytest.mark.parametrize("make", [fifo, device])
@pytest.mark.parametrize(
    "name", ["config.yaml", "classes.json", "result.json", "metrics.csv", "verdicts.parquet", "gallery.safetensors"]
)
def test_a_pipe_or_a_device_in_a_run_folder(make: Callable[[Path], None], name: str, tmp_path: Path, capsys) -> None:
    make_run(tmp_path)
    for manifest in tmp_path.rglob("manifest.json"):
        manifest.unlink()
    make(tmp_path / "run" / name)
    from toughen.reports.page import write_report

    with pytest.raises(ToughenError, match="a pipe|a device"):
        load("run")
        write_report(RunFolder("run"))


def test_a_pipe_for_every_other_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ToughenError, match="it is a pipe"):
        check_file(tmp_path / "pipe")
    for name in ("train-0.parquet", "test-0.parquet", "extra.npz", "recipe.yaml"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="it is a pipe"):
        Parquet(tmp_path).load("train")
    with pytest.raises(DataError, match=r"extra\.npz"):
        ExtraImages("extra.npz").join(Digits().load("train"))


@pytest.mark.parametrize("target", [".", ".."])
def test_a_circle_of_links_among_image_folders(target: str, tmp_path: Path, capsys) -> None:
    make_folder(tmp_path)
    (tmp_path / "train" / "0" / "loop").symlink_to(target)
    said = refused(capsys, "train", "--data", "image_folder", "--data.path", str(tmp_path), *SMALL)
    assert "are one folder, by a link" in said


def bomb() -> str:
    rows = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    rows += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    return "\n".join(rows)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (bomb(), "more than 20,000 values"),
        ("a: &a [*a]", "contains itself"),
        ("a: " + "[" * 10_000, "deeper than 64"),
        ("- " * 10_000, "deeper than 64"),
        ("epochs: " + "9" * 5000, "not YAML"),
        ("seed: " + "9" * 100, "numbers of 64 bits"),
        ("x: '" + "y" * 2_000_000 + "'", "bytes, expected at most"),
        ("a: !!python/object/apply:os.system [touch canary]", "not YAML"),
        ("epochs: !!int x", "not YAML"),
        ("epochs: !!timestamp x", "not YAML"),
    ],
)
def test_a_yaml_bomb(text: str, why: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "my.yaml").write_text(text)
    assert why in refused(capsys, "train", "--config", "my.yaml")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(text)
    assert why in refused(capsys, "train", "--resume", "run")
    assert not (tmp_path / "canary").exists()


def test_a_label_of_ten_to_the_fifteen(tmp_path: Path, capsys) -> None:
    make_shards(tmp_path)
    for shard in tmp_path.glob("*.parquet"):
        table = pq.read_table(shard).replace_schema_metadata(None)
        pq.write_table(table.set_column(1, "label", pa.array([10**15, *[0] * (len(table) - 1)])), shard)
    assert "a label of 1000000000000000" in refused(capsys, "train", "--data", "parquet", "--data.path", ".", *SMALL)
    with pytest.raises(InputError, match="a label of 1000000000000000"):
        image_set(torch.rand(2, 1, 8, 8), torch.tensor([0, 10**15]))


@pytest.mark.parametrize("column", ["rows", "dictionary"])
def test_a_small_parquet_file_that_unpacks_to_a_large_table(column: str, tmp_path: Path) -> None:
    if column == "rows":
        table = pa.table({"label": np.zeros(10_000_000, dtype=np.int64)})
    else:
        table = pa.table({"image": [b"x" * 900_000] * 100, "label": [0, 1] * 50})
    pq.write_table(table, tmp_path / "train-0.parquet", compression="zstd")
    assert (tmp_path / "train-0.parquet").stat().st_size < 100_000
    with pytest.raises(DataError, match="unpack to"):
        Parquet(tmp_path, image=None if column == "rows" else "image").load("train")


def test_a_shard_of_a_set_of_ten_to_the_fifteen(tmp_path: Path) -> None:
    make_shards(tmp_path)
    (tmp_path / "train-00000-of-00001.parquet").rename(tmp_path / f"train-00000-of-{10**15}.parquet")
    with pytest.raises(DataError, match="lacks shard 00001"):
        Parquet(tmp_path).load("train")


def test_a_small_image_that_unpacks_to_a_large_one(tmp_path: Path, capsys) -> None:
    make_folder(tmp_path)
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    (tmp_path / "train" / "0" / "0.png").write_bytes(file.getvalue())
    assert len(file.getvalue()) < 200_000
    said = refused(capsys, "train", "--data", "image_folder", "--data.path", ".", *SMALL, lines=None)
    assert "0.png" in said and "pixels" in said


def test_a_program_that_is_called_an_image(tmp_path: Path, capsys) -> None:
    make_folder(tmp_path)
    (tmp_path / "train" / "0" / "0.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    )
    said = refused(capsys, "train", "--data", "image_folder", "--data.path", ".", *SMALL, lines=None)
    assert "0.png" in said and "not a readable image" in said


def test_a_small_npz_that_unpacks_to_a_large_array(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "extra.npz", image=np.zeros((1_600_000, 8, 8, 1), np.uint8))
    with pytest.raises(DataError, match="unpack to"):
        ExtraImages("extra.npz").join(Digits().load("train"))


@pytest.mark.parametrize("name", ["../canary.npy", "/tmp/canary.npy", "image/../../canary.npy"])
def test_an_npz_with_members_elsewhere(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "extra.npz", "w") as archive:
        file = io.BytesIO()
        np.save(file, np.zeros(3))
        archive.writestr(name, file.getvalue())
    with pytest.raises(DataError, match="has no 'image'"):
        ExtraImages("extra.npz").join(Digits().load("train"))
    assert {path.name for path in tmp_path.iterdir()} == {"extra.npz"}


def test_a_tar_with_members_elsewhere_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with tarfile.open(tmp_path / "data" / "cifar-10-python.tar.gz", "w:gz") as archive:
        for name in ("../canary", str(tmp_path / "canary")):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
        special = tarfile.TarInfo("device")
        special.type = tarfile.CHRTYPE
        archive.addfile(special)
    with pytest.raises(DataError, match=r"CIFAR-10 could not be read"):
        CIFAR10(str(tmp_path / "data"), download=False).load("test")
    assert {path.name for path in tmp_path.rglob("*")} == {"data", "cifar-10-python.tar.gz"}


@pytest.mark.parametrize("option", ["--seed", "--data.seed"])
@pytest.mark.parametrize("seed", [2**32, 2**63, 2**64, -1, 10**30])
def test_a_seed_of_more_than_32_bits(option: str, seed: int, capsys) -> None:
    assert "seed" in refused(capsys, "train", option, str(seed), *SMALL)


def test_an_image_is_read_as_before(tmp_path: Path) -> None:
    make_folder(tmp_path)
    assert len(ImageFolder(tmp_path).load("train")) == 6
