"""Real images as files, for loading.py: Fashion-MNIST in Parquet, photographs in folders or tar shards."""

import tarfile
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from robust_models import source


def in_parquet(folder: Path, images: int) -> str:
    """A Parquet file of PNG images in the Hugging Face layout."""
    split = source("fashion-mnist").load("train")
    rows = []
    for pixels in split.images.take(torch.arange(images)):
        stream = BytesIO()
        Image.fromarray(pixels[0].numpy()).save(stream, format="PNG")
        rows.append({"bytes": stream.getvalue(), "path": None})
    pq.write_table(pa.table({"image": rows, "label": split.labels[:images].numpy()}), folder / "train.parquet")
    return str(folder)


def photographs(folder: Path, images: int, layout: str) -> str:
    """Pieces of scikit-learn's two photographs, of 500 x 375 pixels, as JPEG; the class is the photograph."""
    drawn, files = np.random.default_rng(0), dict[str, bytes]()
    for number in range(images):
        whole = load_photograph(number % 2)
        top, left = (int(drawn.integers(room)) for room in (whole.shape[0] - 375, whole.shape[1] - 500))
        stream = BytesIO()
        Image.fromarray(whole[top : top + 375, left : left + 500]).save(stream, format="JPEG", quality=90)
        files[f"{number:05}"] = stream.getvalue()
    if layout == "tar":
        with tarfile.open(folder / "train-0.tar", "w") as shard:
            for name, content in files.items():
                for ending, part in ((".jpg", content), (".cls", b"%d" % (int(name) % 2))):
                    member = tarfile.TarInfo(name + ending)
                    member.size = len(part)
                    shard.addfile(member, BytesIO(part))
        return str(folder)
    for label in ("0", "1"):
        (folder / "train" / label).mkdir(parents=True)
    for name, content in files.items():
        (folder / "train" / str(int(name) % 2) / f"{name}.jpg").write_bytes(content)
    (folder / "test").symlink_to(folder / "train", target_is_directory=True)
    return str(folder)


@cache
def load_photograph(number: int) -> np.ndarray:
    found: np.ndarray = load_sample_images().images[number]
    return found
