"""Small robust models that several benchmarks evaluate: trained once, kept as runs; delete those after a change."""

import gzip
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import toughen
from toughen.data import FashionMNIST, Parquet
from toughen.data.source import DataSource, Decoded, ImageSet, Split
from toughen.evaluation import load_model
from toughen.methods import NFGSM, TRADES
from toughen.models import ResNet18, SmallCNN
from toughen.run import RunFolder
from toughen.threat import ThreatModel
from toughen.training import SGD, GrowingSize, OneCycle

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
THREATS = {"fashion-mnist": ThreatModel("linf", 0.1), "cifar10": ThreatModel("linf", "8/255")}
SETTINGS: dict[str, dict[str, Any]] = {
    "fashion-mnist": {
        "model": partial(SmallCNN, width=16),
        "method": TRADES(),
        "epochs": 3,
        "train_images": 20_000,
    },
    # One step: on one core ten would take hours.
    "cifar10": {
        "model": partial(ResNet18, width=16),
        "method": NFGSM(),
        "epochs": 8,
        "batch_size": 128,
        "optimizer": partial(SGD, lr=0.2),
        "schedule": OneCycle(peak=0.3),
        "image_size": GrowingSize(first=0.5),
        "normalize": True,
        "precision": "auto",
    },
}


class DebianFashionMNIST(DataSource):
    """Fashion-MNIST as Debian's package dataset-fashion-mnist lays it down."""

    def __init__(self, folder: str = str(DEBIAN)) -> None:
        self.folder = folder

    def load(self, split: Split) -> ImageSet:
        stem = "train" if split == "train" else "t10k"
        with gzip.open(Path(self.folder) / f"{stem}-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28).copy()
        with gzip.open(Path(self.folder) / f"{stem}-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
        classes = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
        return ImageSet(Decoded(torch.from_numpy(pixels)), torch.from_numpy(labels), classes, "Fashion-MNIST")


def source(name: str, cifar10: str | None = None) -> DataSource:
    """The data of a model; CIFAR-10 from a folder of Parquet files."""
    if name == "cifar10":
        assert cifar10 is not None, "--cifar10: give the folder of its Parquet files"
        return Parquet(cifar10)
    return DebianFashionMNIST() if DEBIAN.exists() else FashionMNIST()


def robust_model(name: str, data: DataSource, runs: Path) -> nn.Module:
    """The trained model; trained now if `runs` has none."""
    folder = RunFolder(runs / name)
    if not folder.model.exists():
        settings = {"precision": "fp32", "trackers": [], "budget": "none", "seed": 0, **SETTINGS[name]}
        toughen.train(data=data, threat=THREATS[name], out=str(folder.path), overwrite=True, **settings)
    return load_model(folder)
