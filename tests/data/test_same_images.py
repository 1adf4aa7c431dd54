"""The same images are the same run, whatever they lie in: class folders, tables, a Hugging Face set, tar shards."""

import csv
import json
import shutil
import tarfile
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from PIL import Image
from sklearn.datasets import load_digits

from toughen import train
from toughen.data import DataSource, HuggingFace, ImageFolder, Manifest, WebDataset
from toughen.methods import FGSMRS
from toughen.models import SmallCNN

NAMES = ("nil", "one", "two")
Rows = list[tuple[str, str, str]]
"""Path within the folder, class and split of each image."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scans of 0, 1 and 2 among the first 300 as PNG and JPEG files in class folders."""
    folder = tmp_path_factory.mktemp("same") / "photos"
    scans, labels = load_digits(return_X_y=True)
    for index in np.flatnonzero(labels[:300] < 3):
        path = folder / NAMES[labels[index]] / f"{index:03d}.{('png', 'jpg')[index % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(scans[index].reshape(8, 8) * 255 / 16).astype(np.uint8)).save(path)
    return folder


def run(source: DataSource, out: Path) -> bytes:
    """The weights after an epoch of adversarial training."""
    settings: dict[str, Any] = {"model": partial(SmallCNN, width=2), "method": FGSMRS(), "trackers": []}
    train(source, **settings, epochs=1, batch_size=16, budget="none", device="cpu", out=str(out))
    return (out / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(photos: Path) -> tuple[Rows, bytes]:
    """The images with the split that is drawn, and the weights of a run on the class folders of that split."""
    source, rows = ImageFolder(photos), []
    for split, images in source.listed(["train", "test"]).items():
        store: Any = images.images
        for place, label in enumerate(images.labels.tolist()):
            rows.append((store.source.name(place), images.classes[label], split))
            to = photos.parent / "split" / split / store.source.name(place)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photos / store.source.name(place), to)
    return rows, run(ImageFolder(photos.parent / "split"), photos.parent / "run")


def shuffled(rows: Rows) -> Rows:
    return [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]


def as_csv(photos: Path, rows: Rows, place: Path) -> DataSource:
    with (place / "images.csv").open("w", newline="", encoding="utf-8-sig") as file:  # as spreadsheets write it
        csv.writer(file).writerows([("Label", "File_Name", "Split"), *((b, a, c) for a, b, c in shuffled(rows))])
    return Manifest(place / "images.csv", root=photos)


def as_csv_without_a_split(photos: Path, rows: Rows, place: Path) -> DataSource:
    with (photos / "images.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([("path", "class"), *(row[:2] for row in shuffled(rows))])
    return Manifest(photos / "images.tsv")


def as_json_lines(photos: Path, rows: Rows, place: Path) -> DataSource:
    for split in ("train", "test"):
        lines = [json.dumps({"image": str(photos / a), "label": b}) for a, b, c in rows if c == split]
        (place / f"{split}.jsonl").write_text("\n".join(lines))
    return Manifest(place / "train.jsonl", test=place / "test.jsonl")


def as_parquet(photos: Path, rows: Rows, place: Path) -> DataSource:
    where, what, when = map(pa.array, zip(*shuffled(rows), strict=True))
    when = pa.array([{"train": "Training", "test": "val"}[split.as_py()] for split in when])
    columns = {"where": where, "what": what.dictionary_encode(), "when": when}
    pq.write_table(pa.table(columns), place / "images.parquet")
    return Manifest(place / "images.parquet", root=photos, image="where", label="what", split="when")


def as_hugging_face(photos: Path, rows: Rows, place: Path) -> DataSource:
    parts = {}
    for split in ("train", "test"):
        chosen = [row for row in rows if row[2] == split]
        columns = {"image": [str(photos / a) for a, _, _ in chosen], "label": [NAMES.index(b) for _, b, _ in chosen]}
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
        parts[split] = datasets.Dataset.from_dict(columns, features)
    datasets.DatasetDict(parts).save_to_disk(place / "saved")  # with the images in it
    return HuggingFace(place / "saved")


def as_hugging_face_without_a_split(photos: Path, rows: Rows, place: Path) -> DataSource:
    found = datasets.load_dataset("imagefolder", data_dir=str(photos), split="train", cache_dir=str(place / "cache"))
    found.cast_column("label", datasets.Value("int64")).save_to_disk(place / "saved")
    return HuggingFace(place / "saved", name="photos")


def as_shards(photos: Path, rows: Rows, place: Path) -> DataSource:
    for split in ("train", "test"):
        pattern = str(place / f"{split}-%06d.tar")
        with webdataset.ShardWriter(pattern, maxcount=20, verbose=0) as writer:
            for name, label, of in shuffled(rows):
                key, _, ending = name.rpartition(".")
                if of == split:
                    writer.write({"__key__": key, ending: (photos / name).read_bytes(), "cls": label.encode()})
    return WebDataset(place)


def as_one_tar(photos: Path, rows: Rows, place: Path) -> DataSource:
    with tarfile.open(place / "all.tar", "w") as archive:
        for name, label, _ in rows:
            note = json.dumps({"label": label, "width": 8}).encode()
            member = tarfile.TarInfo(f"{name.rpartition('.')[0]}.json")
            member.size = len(note)
            archive.add(photos / name, name)
            archive.addfile(member, BytesIO(note))
    return WebDataset(place)


def as_folder(photos: Path, rows: Rows, place: Path) -> DataSource:
    return ImageFolder(photos)


WAYS = [value for name, value in list(globals().items()) if name.startswith("as_")]


@pytest.mark.parametrize("write", WAYS)
def test_the_same_images_are_the_same_run(
    write: Callable[[Path, Rows, Path], DataSource], photos: Path, whole: tuple[Rows, bytes], tmp_path: Path
) -> None:
    source = write(photos, whole[0], tmp_path)
    assert run(source, tmp_path / "run") == whole[1]
    test, expected = (each.load("test") for each in (source, ImageFolder(photos)))
    assert test.labels.tolist() == expected.labels.tolist()
    places = torch.arange(len(test))
    assert torch.equal(test.images.take(places), expected.images.take(places))
