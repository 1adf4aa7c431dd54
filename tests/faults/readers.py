"""Every reader of files, with a folder of sound files for each: what the mutations of `mutate` are given to."""

import json
import struct
import sys
import tarfile
import warnings
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from markupsafe import Markup
from PIL import Image
from run_files import write_evaluation, write_training
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from studies import studies

from toughen.cli.terminal import Terminal
from toughen.cli.train import parser as train_parser
from toughen.commands import train
from toughen.commands.images.kept import keep_images
from toughen.commands.images.of_run import images_of_split, read_images
from toughen.commands.trainings import extra, settings
from toughen.commands.trainings.assemble import ready
from toughen.commands.trainings.request import request_of
from toughen.data import (
    Decoded,
    Digits,
    ExtraImages,
    FashionMNIST,
    HuggingFace,
    ImageFolder,
    Manifest,
    Parquet,
    TinyImageNet,
    WebDataset,
)
from toughen.evaluation import EvaluationSpec, Requirement, find_parts, merge_parts
from toughen.evaluation.preflight import Finding
from toughen.evaluation.records.evaluations import Evaluations
from toughen.evaluation.records.store import VerdictStore
from toughen.evaluation.records.verdicts import Verdicts
from toughen.evaluation.result import Evaluation
from toughen.exports.facts import facts_of
from toughen.exports.formats import put_into_file
from toughen.models import SmallCNN, build_model, load_weights
from toughen.models.load import load
from toughen.reports.comparison import compare_runs
from toughen.reports.page import write_report
from toughen.reports.sections import all_sections
from toughen.reports.terminal import show_result
from toughen.reports.terminal_comparison import show_comparison
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.settings.signature import settings_of
from toughen.training import read_rows

SCANS = np.rint(load_digits().images[:40] * 255 / 16).astype(np.uint8)
LABELS = load_digits().target[:40].astype(np.int64)
DIGITS = Digits().load("train")


@dataclass(frozen=True)
class Reader:
    """A reader, and the files that it reads.

    Attributes:
        make: writes sound files into an empty folder.
        files: patterns of those that are mutated.
        read: reads the folder, by every path that leads to these files.
    """

    make: Callable[[Path], None]
    files: tuple[str, ...]
    read: Callable[[Path], object]


def undrawn(monkeypatch: Any) -> None:
    """Pages without drawings, which take a second."""
    all_sections()
    plots = [module for name, module in sys.modules.items() if name.startswith("toughen.reports.plots.")]
    for module in plots:
        if isinstance(module, ModuleType) and hasattr(module, "draw"):
            monkeypatch.setattr(module, "draw", lambda name, label, size, paint: Markup("<svg></svg>"))


def classifier() -> torch.nn.Module:
    network = partial(SmallCNN, width=4)
    return build_model(network, num_classes=10, in_channels=1, mean=[0.5], std=[0.3])


def make_run(place: Path) -> None:
    for name, strength in (("run", 1.0), ("other", 0.9)):
        folder = RunFolder(place / name)
        folder.create()
        write_training(folder, 3, "TRADES")
        written = {name: value for name, value in folder.read_config().items() if name != "out"}
        folder.write_config({**written, **CONFIG})
        folder.write_classes([str(digit) for digit in range(10)])
        folder.write_shape((1, 8, 8))
        write_evaluation(folder, n=40, seed=0, strength=strength, key="ab" * 32, **studies())
        tensors = {name: tensor.contiguous() for name, tensor in classifier().state_dict().items()}
        save_file(tensors, folder.model)
        save_file({"labels": torch.from_numpy(LABELS)}, folder.pseudo_labels)
        Evaluations(folder).take_in()


CONFIG = {
    "model": {"class_path": "toughen.models.small_cnn.SmallCNN", "init_args": {"width": 4, "in_channels": 1}},
    "threat": {"norm": "linf", "eps": "8/255"},
    "optimizer": {"class_path": "toughen.training.optimizer.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}},
    "schedule": {"class_path": "toughen.training.optimizer.MultiStep", "init_args": {"milestones": [1, 2]}},
    "extra": None,
    "seed": 0,
}


def read_config(place: Path) -> None:
    load(place / "run")
    given = {**train.DEFAULTS, "resume": str(place / "run"), "out": None, "overwrite": False}
    request_of(given, train.DEFAULTS, settings_of(train.train))


def read_metrics(place: Path) -> None:
    read_rows(place / "run" / "metrics.csv")


def read_evaluation(place: Path) -> None:
    folder, console = RunFolder(place / "run"), Terminal(file=StringSink())
    load(folder.path)
    evaluation = Evaluation.load(folder)
    repr(evaluation), evaluation.accuracies, evaluation._repr_html_()
    show_result(evaluation.result, console)
    Requirement.parse("robust >= 0.4 and checks", evaluation.verdicts.attacks).judge(evaluation.result)
    show_comparison(compare_runs([folder, RunFolder(place / "other")]), console)


def read_report(place: Path) -> None:
    write_report(RunFolder(place / "run"))


def read_evaluations(place: Path) -> None:
    kept = Evaluations(RunFolder(place / "run"))
    kept.take_in()
    kept.choose_headline()
    for _, result in kept.all():
        kept.note_own(result)
    write_report(RunFolder(place / "run"))


class StringSink:
    """A standard output that nobody reads."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        text.encode()
        return len(text)

    def flush(self) -> None:
        pass


def label_once(place: Path) -> None:
    file, images = place / "run" / "pseudo_labels.safetensors", Decoded(torch.from_numpy(SCANS[:, None]))
    extra._label_once(RunFolder(place / "run"), file, 10, torch.device("cpu"), images)


def trainer(place: Path) -> Any:
    given = {**train.DEFAULTS, "trackers": [], "epochs": 2, "train_images": 64, "device": "cpu", "val_images": 20}
    images = DIGITS
    given = settings.with_data_facts({**given, "model": partial(SmallCNN, width=4)}, images)
    return ready(RunFolder(place), given, images)


TRAINERS: dict[Path, Any] = {}


def make_checkpoint(place: Path) -> None:
    TRAINERS[place] = trainer(place)
    RunFolder(place).write_config(CONFIG)  # without one a run's folder counts as vanished
    TRAINERS[place].save()


def make_parts(place: Path) -> None:
    run = RunFolder(place / "source")
    run.create()
    steps = {"fgsm": 1, "pgd20": 20}
    attacks = {name: {"attack": "PGD", "steps": count, "step_size": 0.1} for name, count in steps.items()}
    attacks["autoattack"] = {"attack": "AutoAttack", "components": ["apgd-ce", "apgd-t"]}
    write_evaluation(run, n=40, seed=0, strength=1.0, analyses=studies()["analyses"], attacks=attacks)
    result, verdicts = run.read_result(), Verdicts.read(run.verdicts)
    protocol = {name: result[name] for name in ("threat", "attacks", "budget", "sample", "n", "seed", "data", "model")}
    protocol |= {"batch_size": 20, "precision": "fp32", "eot": 1}
    spec = EvaluationSpec(protocol, (Finding("dtype", "note", "fp64", {}),), {"logits": [[1.0]], "gradients": [[1.0]]})
    VerdictStore(RunFolder(place / "run"), spec).restore(verdicts, result)


def read_parts(place: Path) -> None:
    merge_parts(find_parts([RunFolder(place / "run")]), partial=True)


def png(scan: np.ndarray, kind: str = "PNG") -> bytes:
    file = BytesIO()
    Image.fromarray(scan).save(file, kind)
    return file.getvalue()


def make_shards(place: Path) -> None:
    names = {"info": {"features": {"label": {"names": [str(digit) for digit in range(10)], "_type": "ClassLabel"}}}}
    for split in ("train", "test"):
        table = pa.table({"image": [{"bytes": png(s), "path": "x"} for s in SCANS], "label": LABELS})
        about = {b"huggingface": json.dumps(names).encode()}
        pq.write_table(table.replace_schema_metadata(about), place / f"{split}-00000-of-00001.parquet")


def make_folder(place: Path) -> None:
    for split in ("train", "test"):
        for label in (0, 1):
            (place / split / str(label)).mkdir(parents=True)
        kinds = ("PNG", "JPEG", "BMP", "TIFF", "PPM", "WEBP")
        for number, kind in enumerate(kinds):
            path = place / split / str(number % 2) / f"{number}.{kind.lower()}"
            path.write_bytes(png(np.asarray(Image.fromarray(SCANS[number]).resize((16, 16))), kind))


def make_drawn(place: Path) -> None:
    """A run on class folders without a split, one image of which was left out."""
    run, photos = RunFolder(place / "run"), place / "photos"
    for number in range(20):
        path = photos / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(SCANS[number]) if number else b"")
    run.create()
    run.write_config({"data": describe(ImageFolder(photos, skip_bad=True)), "model": {}})
    with warnings.catch_warnings(action="ignore"):
        found = read_images(ImageFolder(photos, skip_bad=True), ["train", "test"])
    keep_images(run, ImageFolder(photos, skip_bad=True), found)


def read_drawn(place: Path) -> None:
    run, source = RunFolder(place / "run"), ImageFolder(place / "photos", skip_bad=True)
    run.read_data()
    for split in ("train", "test"):
        images_of_split(source, split, run)


def read_all(source: Any) -> None:
    for split in ("train", "test"):
        images = source.load(split)
        images.images.take(torch.arange(len(images)))
        images.in_order_of(images.classes[::-1], "a run")


def make_table(place: Path) -> None:
    make_folder(place)
    images = sorted(place.rglob("*.*"))
    rows = [(str(path.relative_to(place)), path.parent.name, path.parent.parent.name) for path in images]
    columns = dict(zip(("path", "label", "split"), map(list, zip(*rows, strict=True)), strict=True))
    (place / "table.csv").write_text("\n".join([",".join(columns), *map(",".join, rows)]))
    (place / "table.jsonl").write_text("\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows))
    pq.write_table(pa.table(columns), place / "table.parquet")


def read_tables(place: Path) -> None:
    for file in ("table.csv", "table.jsonl", "table.parquet"):
        read_all(Manifest(place / file))


def make_tar(place: Path) -> None:
    for split in ("train", "test"):
        with tarfile.open(place / f"{split}-0.tar", "w") as archive:
            for number, scan in enumerate(SCANS[:8]):
                notes = {"cls": str(number % 2).encode(), "json": json.dumps({"label": number % 2}).encode()}
                for ending, data in {"png": png(scan), **notes}.items():
                    member = tarfile.TarInfo(f"{number}.{ending}")
                    member.size = len(data)
                    archive.addfile(member, BytesIO(data))


def read_tar(place: Path) -> None:
    read_all(WebDataset(place))
    read_all(WebDataset(place, label="json"))


def make_saved(place: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    columns = {"image": [{"bytes": png(s), "path": None} for s in SCANS[:8]], "label": [0, 1] * 4}
    rows = datasets.Dataset.from_dict(columns, features)
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(place / "saved")


def make_tiny(place: Path) -> None:
    ids = ("n01", "n02")
    for number, wnid in enumerate(ids):
        for path in (place / "train" / wnid / "images" / f"{wnid}_0.JPEG", place / "val" / "images" / f"{number}.JPEG"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(SCANS[number], "JPEG"))
    (place / "wnids.txt").write_text("\n".join(ids))
    (place / "words.txt").write_text("n01\tgoldfish, x\nn02\tcat\n")
    (place / "val" / "val_annotations.txt").write_text("0.JPEG\tn01\t0\t1\t2\t3\n1.JPEG\tn02\t0\t1\t2\t3\n")


def make_extra(place: Path) -> None:
    np.savez(place / "extra.npz", image=SCANS[..., None], label=LABELS)


def make_idx(place: Path) -> None:
    raw = place / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for name, values in (("images-idx3", np.pad(SCANS, ((0, 0), (10, 10), (10, 10)))), ("labels-idx1", LABELS)):
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (raw / f"{part}-{name}-ubyte").write_bytes(header + values.astype(np.uint8).tobytes())


RECIPE = """data: digits
model: {class_path: SmallCNN, init_args: {width: 4}}
method: {class_path: TRADES, init_args: {beta: 6.0, attack: {class_path: PGD, init_args: {steps: 3}}}}
threat: {norm: linf, eps: 8/255}
epochs: 2
optimizer: {class_path: SGD, init_args: {lr: 0.1, momentum: 0.9}}
schedule: {class_path: MultiStep, init_args: {milestones: [1, 2]}}
average: {class_path: EMA}
awp: {gamma: 0.01, start: 1}
augment: &crop {crop: 1, flip: false}
label_smoothing: 0.1
trackers: []
"""


def make_recipe(place: Path) -> None:
    (place / "recipe.yaml").write_text(RECIPE)


def read_recipe(place: Path) -> None:
    with chdir(place):
        request = train_parser().parse(["--config", "recipe.yaml"])
    assert request is not None
    settings.check_settings({name: request.settings[name] for name in train.DEFAULTS})


def make_exported(place: Path) -> None:
    make_run(place)
    folder = RunFolder(place / "run")
    found = load(folder.path)
    facts = facts_of(found, folder, (1, 8, 8), folder.read_config()["model"])
    put_into_file(found.network, (1, 8, 8), facts, "safetensors", place / "one.safetensors")


READERS = {
    # A stranger's run has no manifest, or one that fits.
    "recipe": Reader(make_recipe, ("recipe.yaml",), read_recipe),
    "config": Reader(make_run, ("run/config.yaml", "run/classes.json", "run/input.json"), read_config),
    "drawn": Reader(make_drawn, ("run/data.json", "run/images.parquet"), read_drawn),
    "weights": Reader(
        make_run, ("run/model.safetensors",), lambda place: load_weights(classifier(), place / "run/model.safetensors")
    ),
    "exported": Reader(make_exported, ("one.safetensors",), lambda place: load(place / "one.safetensors")),
    "metrics": Reader(make_run, ("run/metrics.csv",), read_metrics),
    "result": Reader(make_run, ("run/result.json", "run/verdicts.parquet"), read_evaluation),
    "report": Reader(
        make_run,
        ("run/result.json", "run/gallery.safetensors", "run/metrics.csv", "run/config.yaml", "run/verdicts.parquet"),
        read_report,
    ),
    "evaluations": Reader(make_run, ("run/evaluations/*/*", "run/evaluations/own.json"), read_evaluations),
    "labels": Reader(make_run, ("run/pseudo_labels.safetensors",), label_once),
    "checkpoint": Reader(make_checkpoint, ("checkpoints/last/*",), lambda place: TRAINERS[place].saving.resume()),
    "parts": Reader(make_parts, ("run/verdicts/*/*",), read_parts),
    "parquet": Reader(make_shards, ("*.parquet",), lambda place: read_all(Parquet(place))),
    "images": Reader(make_folder, ("*/*/*",), lambda place: read_all(ImageFolder(place))),
    "tables": Reader(make_table, ("table.*",), read_tables),
    "tar": Reader(make_tar, ("*.tar",), read_tar),
    "saved": Reader(make_saved, ("saved/*", "saved/*/*"), lambda place: read_all(HuggingFace(place / "saved"))),
    "tiny": Reader(make_tiny, ("*.txt", "val/*.txt", "train/*/*/*"), lambda place: read_all(TinyImageNet(place))),
    "npz": Reader(
        make_extra, ("extra.npz",), lambda place: ExtraImages(place / "extra.npz").join(DIGITS)
    ),
    "idx": Reader(
        make_idx, ("FashionMNIST/raw/*",), lambda place: read_all(FashionMNIST(str(place), download=False))
    ),
}  # fmt: skip
