import json
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from toughen.data import Parquet, Split, hold
from toughen.data.survey import survey
from toughen.errors import DataError, InputError, ToughenWarning

WriteShard = Callable[..., Path]
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HUGGING_FACE = json.dumps(
    {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}}}
).encode()


@pytest.fixture
def root(tmp_path: Path, write_shard: WriteShard) -> Path:
    """60 training scans in three shards, 20 test scans in one."""
    folder = tmp_path / "scans"
    for number in range(3):
        write_shard(folder / f"train-{number:05d}-of-00003.parquet", range(20 * number, 20 * number + 20))
    write_shard(folder / "test-00000-of-00001.parquet", range(60, 80))
    return folder


def check(source: Parquet, scans: np.ndarray, digits: np.ndarray) -> None:
    parts: dict[Split, slice] = {"train": slice(0, 60), "test": slice(60, 80)}
    for split, part in parts.items():
        images = source.load(split)
        np.testing.assert_array_equal(images.images.take(torch.arange(len(images)))[:, 0], scans[part])
        np.testing.assert_array_equal(images.labels, digits[part])


def test_several_shards(root: Path, scans: np.ndarray, digits: np.ndarray) -> None:
    source = Parquet(str(root), channels=1)
    check(source, scans, digits)
    images = source.load("test")
    assert (images.shape, images.name, images.classes) == ((1, 8, 8), "scans", tuple("0123456789"))
    assert images.labels.dtype == torch.int64


@pytest.mark.parametrize("layout", ["data", "validation", "single", "folders"])
def test_other_layouts(root: Path, layout: str, write_shard: WriteShard, scans: np.ndarray, digits: np.ndarray) -> None:
    test = root / "test-00000-of-00001.parquet"
    if layout == "data":
        (root / "data").mkdir()
        for shard in root.glob("*.parquet"):
            shard.rename(root / "data" / shard.name)
    elif layout == "validation":
        test.rename(root / "validation-00000-of-00001.parquet")
    elif layout == "single":
        for shard in root.glob("train-*.parquet"):
            shard.unlink()
        write_shard(root / "train.parquet", range(60))
        test.rename(root / "test.parquet")
    else:
        for shard in sorted(root.glob("*.parquet")):
            name, number, *_ = shard.name.split("-")
            (root / name).mkdir(exist_ok=True)
            shard.rename(root / name / f"{number}.parquet")
    check(Parquet(root, channels=1), scans, digits)


def test_a_test_set_goes_before_validation(root: Path, write_shard: WriteShard) -> None:
    write_shard(root / "validation-00000-of-00001.parquet", range(5))
    assert len(Parquet(root).load("test")) == 20


def test_class_names_from_the_metadata(tmp_path: Path, write_shard: WriteShard) -> None:
    write_shard(tmp_path / "train-0.parquet", range(60), metadata=HUGGING_FACE)
    write_shard(tmp_path / "test-0.parquet", range(60, 80), metadata=HUGGING_FACE)
    assert Parquet(tmp_path).load("train").classes == Parquet(tmp_path).load("test").classes == NAMES


def test_both_splits_have_the_classes_of_both(tmp_path: Path, write_shard: WriteShard) -> None:
    write_shard(tmp_path / "train-0.parquet", range(10))  # digits 0 .. 9 in order
    write_shard(tmp_path / "test-0.parquet", range(3))
    assert Parquet(tmp_path).load("test").classes == tuple("0123456789")


def test_columns_are_detected(tmp_path: Path, write_shard: WriteShard, scans: np.ndarray) -> None:
    extra = {"id": np.arange(60), "where": [{"x": 1.0}] * 60}
    write_shard(tmp_path / "train-0.parquet", range(60), image="img", label="fine_label", extra=extra)
    images = Parquet(tmp_path, channels=1).load("train")
    assert images.labels[:10].tolist() == list(range(10))
    np.testing.assert_array_equal(images.images.take(torch.tensor([59]))[0, 0], scans[59])
    write_shard(tmp_path / "train-0.parquet", range(60), label="digit")  # the only integers
    assert Parquet(tmp_path).load("train").labels[:10].tolist() == list(range(10))


def test_columns_are_chosen(tmp_path: Path, write_shard: WriteShard, scans: np.ndarray) -> None:
    other = pq.read_table(write_shard(tmp_path / "other", range(20, 80)))
    plain = pc.struct_field(other["image"], "bytes")
    extra = {"plain": plain, "other": other["image"], "coarse": np.arange(60) % 2}
    write_shard(tmp_path / "train-0.parquet", range(60), extra=extra)
    for image in ("other", "plain"):
        images = Parquet(tmp_path, image=image, label="coarse", channels=1).load("train")
        np.testing.assert_array_equal(images.images.take(torch.arange(60))[:, 0], scans[20:])
        assert images.classes == ("0", "1")


def test_name_and_size_are_settings(root: Path) -> None:
    images = Parquet(root, size=6, name="Scans (PNG)").load("train")
    assert (images.name, images.shape) == ("Scans (PNG)", (3, 6, 6))
    assert images.images.take(torch.tensor([40])).shape == (1, 3, 6, 6)


def test_a_truncated_image_is_named_by_shard_and_row(root: Path, write_shard: WriteShard) -> None:
    write_shard(root / "train-00001-of-00003.parquet", range(20, 40), damaged=[13])
    images = Parquet(root).load("train")
    images.images.take(torch.tensor([32, 34]))
    with pytest.raises(DataError, match=r"train-00001-of-00003\.parquet row 13 is not a readable image"):
        hold(images, "cpu")


def expect(source: Parquet, message: str, split: Split = "train") -> None:
    with pytest.raises(DataError, match=message):
        hold(source.load(split), "cpu")


def test_missing_and_damaged_shards(root: Path, tmp_path: Path, truncate: Callable[[Path], None]) -> None:
    expect(Parquet(tmp_path / "no"), r"no folder at .*/no; expected one with train-\*\.parquet")
    expect(Parquet(tmp_path), r"has no train-\*\.parquet, neither there nor in data/; found: scans")
    truncate(root / "train-00002-of-00003.parquet")
    expect(Parquet(root), r"train-00002-of-00003\.parquet: it is not a readable Parquet file")
    (root / "train-00001-of-00003.parquet").unlink()
    expect(Parquet(root), r"lacks shard 00001 of the set .*\(1 missing, 2 found\)")


def test_no_fitting_columns(tmp_path: Path, write_shard: WriteShard) -> None:
    shard = write_shard(tmp_path / "train-0.parquet", range(10), label="digit", extra={"id": np.arange(10)})
    expect(Parquet(tmp_path), r"no integer column named label, .*columns: id \(int64\), .*--data\.label")
    expect(Parquet(tmp_path, label="image"), r"no integer column 'image' \(--data\.label\)")
    expect(Parquet(tmp_path, label="digit", image="id"), r"no column 'id' of encoded image bytes")
    expect(Parquet(tmp_path, label="digit", image="nothing"), r"no column 'nothing' of encoded image bytes")
    pq.write_table(pq.read_table(shard).drop_columns("image"), shard)
    expect(Parquet(tmp_path, label="digit"), r"no image column .*--data\.image")


def test_rows_without_image_or_label(tmp_path: Path, write_shard: WriteShard) -> None:
    shard = write_shard(tmp_path / "train-0.parquet", range(10))
    table = pq.read_table(shard)
    rows = table["image"].to_pylist()
    rows[4]["bytes"] = None
    pq.write_table(pa.table({"image": rows, "label": table["label"]}), shard)
    expect(Parquet(tmp_path), r"train-0\.parquet row 4 has no image bytes")
    pq.write_table(pa.table({"image": table["image"], "label": pa.array([None, *range(9)])}), shard)
    expect(Parquet(tmp_path), r"train-0\.parquet has 1 rows without a label")
    pq.write_table(table.slice(0, 0), shard)
    expect(Parquet(tmp_path), r"train-0\.parquet and the other train shards have no rows")


def test_labels_outside_the_classes(tmp_path: Path, write_shard: WriteShard) -> None:
    shard = write_shard(tmp_path / "train-0.parquet", range(10), metadata=HUGGING_FACE)
    table = pq.read_table(shard)
    for labels, span in ((range(1, 11), r"1 \.\. 10"), (range(-1, 9), r"-1 \.\. 8")):
        pq.write_table(table.set_column(1, "label", pa.array(list(labels))), shard)
        expect(Parquet(tmp_path), rf"train labels of .* lie in {span}, expected 0 \.\. 9")


def test_shards_larger_than_the_memory(root: Path) -> None:
    large = root / "train-00002-of-00003.parquet"
    os.truncate(large, 2 * psutil.virtual_memory().available)  # a sparse file: it takes no room on the disk
    expect(Parquet(root), r"shards \(.* GB\) do not fit into memory .*--data image_folder")


def test_a_test_set_of_another_size(root: Path, write_shard: WriteShard, scans: np.ndarray) -> None:
    table = pq.read_table(root / "test-00000-of-00001.parquet")
    file = BytesIO()
    Image.fromarray(scans[0].repeat(2, 0)).save(file, "PNG")
    rows = [{"bytes": file.getvalue(), "path": None}] * 20
    pq.write_table(pa.table({"image": rows, "label": table["label"]}), root / "test-00000-of-00001.parquet")
    expect(
        Parquet(root),
        r"train-00000-of-00003\.parquet row 0 is 8 x 8 pixels, .*test.* row 0 is 8 x 16",
        "test",
    )


def test_settings_out_of_range(root: Path) -> None:
    with pytest.raises(InputError, match=r"data\.size"):
        Parquet(root, size=-1)
    with pytest.raises(InputError, match=r"data\.channels"):
        Parquet(root, channels=2)


def test_damaged_rows_are_named_together_or_left_out(
    tmp_path: Path, write_shard: Callable[..., Path], scans: np.ndarray
) -> None:
    write_shard(tmp_path / "train-0.parquet", range(30), damaged=[0, 17])
    write_shard(tmp_path / "test-0.parquet", range(30, 50), damaged=[3])
    for split, rows, left in (("train", [0, 17], 28), ("test", [3], 19)):
        named = "".join(rf".*row {row} is not a readable image.*\n" for row in rows)
        with pytest.raises(DataError, match=rf"{split}: {len(rows)} images? that cannot be read\n{named}"):
            survey(Parquet(tmp_path, channels=1, size=6).listed([split]), skip_bad=False)
        with pytest.warns(ToughenWarning, match=rf"{split}: left out: {len(rows)} image"):
            kept = Parquet(tmp_path, channels=1, skip_bad=True).load(split)
        first = 0 if split == "train" else 30
        expected = np.delete(np.arange(first, first + len(kept) + len(rows)), rows)
        assert len(kept) == left
        np.testing.assert_array_equal(kept.images.take(torch.arange(left))[:, 0], scans[expected])


def test_one_class(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    write_shard(tmp_path / "train-0.parquet", [0, 10, 20])
    with pytest.raises(DataError, match="images of one class; expected at least two"):
        Parquet(tmp_path).load("train")
