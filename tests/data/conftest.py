"""Real images on disk: scikit-learn's digit scans and its photograph, written as files by PIL and pyarrow."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from toughen.data import Decoded, ImageSet

WriteFolder = Callable[..., None]
WriteShard = Callable[..., Path]


@pytest.fixture(scope="session")
def scans() -> np.ndarray:
    """The first 80 digit scans, uint8, 80 x 8 x 8."""
    return np.rint(load_digits().images[:80] * 255 / 16).astype(np.uint8)


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """Their labels."""
    return load_digits().target[:80].astype(np.int64)


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A piece of a real photograph, uint8, 90 x 120 x 3."""
    return load_sample_image("flower.jpg")[100:190, 200:320]


@pytest.fixture
def small_set(scans: np.ndarray, digits: np.ndarray) -> ImageSet:
    """The 80 scans as a decoded set."""
    names = tuple(str(digit) for digit in range(10))
    return ImageSet(Decoded(torch.from_numpy(scans)[:, None]), torch.from_numpy(digits), names, "scans")


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """The bytes of an image file."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture
def write_folder(scans: np.ndarray, digits: np.ndarray) -> WriteFolder:
    """Writes chosen scans to FOLDER/<label>/<index>.png."""

    def write(folder: Path, chosen: Sequence[int]) -> None:
        for index in chosen:
            path = folder / str(digits[index]) / f"{index:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(scans[index]))

    return write


@pytest.fixture
def write_shard(scans: np.ndarray, digits: np.ndarray) -> WriteShard:
    """Writes chosen scans as one Parquet shard in the Hugging Face layout."""

    def write(
        path: Path,
        chosen: Sequence[int],
        *,
        image: str = "image",
        label: str = "label",
        metadata: bytes | None = None,
        extra: dict[str, Any] | None = None,
        damaged: Sequence[int] = (),
    ) -> Path:
        encoded = [encode(scans[index]) for index in chosen]
        for row in damaged:
            encoded[row] = encoded[row][: len(encoded[row]) // 2]
        rows = [{"bytes": data, "path": f"{index}.png"} for data, index in zip(encoded, chosen, strict=True)]
        table = pa.table({**(extra or {}), image: rows, label: digits[list(chosen)]})
        if metadata is not None:
            table = table.replace_schema_metadata({b"huggingface": metadata})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=7)
        return path

    return write


@pytest.fixture
def truncate() -> Callable[[Path], None]:
    """Cuts a file in half, as a download that broke off leaves it."""

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return cut
