"""Tables of image files that are not what they should be."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from toughen.data import Manifest
from toughen.data.survey import survey
from toughen.errors import DataError, InputError


@pytest.fixture
def images(tmp_path: Path, write_folder: Callable[..., None]) -> Path:
    """20 scans, two of each class, in class folders; the file names have no class."""
    write_folder(tmp_path / "scans", range(20))
    return tmp_path


def rows(images: Path, test: str = "test") -> list[list[str]]:
    paths = sorted((images / "scans").rglob("*.png"))
    return [
        [str(path.relative_to(images)), path.parent.name, test if number % 2 else "train"]
        for number, path in enumerate(paths)
    ]


def table(images: Path, lines: list[list[str]], names: str = "path,label,split") -> Path:
    file = images / "images.csv"
    file.write_text("\n".join([names, *(",".join(line) for line in lines)]))
    return file


def test_labels_are_numbers_by_size_and_val_is_not_used_beside_test(images: Path) -> None:
    lines = [[path, str(11 - int(label)), split] for path, label, split in rows(images)]
    lines[0][2] = "val"
    found = Manifest(table(images, lines), channels=1).listed(["train", "test"])
    assert found["train"].classes == tuple(map(str, range(2, 12)))
    assert (len(found["train"]), len(found["test"])) == (9, 10)
    assert found["test"].labels.tolist() == list(range(10))


@pytest.mark.parametrize("names", ["path;label;split", "path\tlabel\tsplit"])
def test_other_separators(images: Path, names: str) -> None:
    between = names[4]
    file = images / f"images.{'tsv' if between == chr(9) else 'csv'}"
    file.write_text("\n".join([names, *(between.join(line) for line in rows(images))]))
    assert len(Manifest(file).load("test")) == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[3].pop(), "line 5 has 2 cells, the first line 3"),
        (lambda lines: lines[3].__setitem__(1, " "), r"row 4 has no text or whole number in column label, got ' '"),
        (lambda lines: lines.append(lines[0]), r"names 1 files twice, such as .*scans/0/000\.png"),
        (lambda lines: lines[3].__setitem__(2, "holdout"), "unknown split 'holdout'; expected test, testing, train"),
        (lambda lines: [line.__setitem__(2, "train") for line in lines], "no row of test images; splits there: train"),
        (lambda lines: [line.__setitem__(1, "0") for line in lines], "images of one class, 0; expected at least two"),
        (lambda lines: lines.clear(), "has no rows"),
        (lambda lines: lines[2].__setitem__(0, '"a'), "line .*: unexpected end of data"),
    ],
)
def test_tables_that_say_something_wrong(images: Path, change: Callable[[list], object], message: str) -> None:
    lines = rows(images)
    change(lines)
    with pytest.raises(DataError, match=message):
        Manifest(table(images, lines)).load("test")


def test_files_and_columns_that_are_not_there(images: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*no\.csv: No such file"):
        Manifest(images / "no.csv").load("train")
    (images / "images.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"images\.xlsx: expected a file ending in \.csv, \.tsv, \.jsonl"):
        Manifest(images / "images.xlsx").load("train")
    file = table(images, rows(images), "picture,label,split")
    with pytest.raises(DataError, match="none of the columns path, image, .*; columns: picture, .*--data.image"):
        Manifest(file).load("train")
    with pytest.raises(DataError, match="no column 'kind'; columns: picture, label, split; .*--data.label"):
        Manifest(file, image="picture", label="kind").load("train")
    assert len(Manifest(file, image="picture").load("train")) == 10
    lines = rows(images)
    lines[5][0] = "scans/elsewhere.png"
    found = Manifest(table(images, lines)).listed(["train", "test"])
    with pytest.raises(DataError, match=r"1 image that cannot be read\n.*scans/elsewhere\.png"):
        survey(found, skip_bad=False)


def test_parquet_of_other_types(images: Path) -> None:
    paths = [line[0] for line in rows(images)]
    for labels, message in (
        (pa.array([0.5] * 20), "none of the columns label"),
        (pa.array([None] * 20, pa.string()), "row 1 has no text or whole number in column label, got None"),
    ):
        pq.write_table(pa.table({"path": paths, "label": labels}), images / "images.parquet")
        with pytest.raises(DataError, match=message):
            Manifest(images / "images.parquet").load("train")


@pytest.mark.parametrize("line", ['{"path": "a.png", "label": "a"', "[1]", '{"path": "a\\u0000.png", "label": "b"}'])
def test_lines_that_are_no_rows(images: Path, line: str) -> None:
    (images / "images.jsonl").write_text(f'{{"path": "scans/0/000.png", "label": "x"}}\n{line}\n')
    with pytest.raises(DataError, match="line 2: |row 2 has no text"):
        Manifest(images / "images.jsonl").load("train")


def test_settings_out_of_range() -> None:
    for share in (0, 1, -0.1):
        with pytest.raises(InputError, match=r"data\.test_share"):
            Manifest("x.csv", test_share=share)
