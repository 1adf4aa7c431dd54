"""Run folders as training and evaluation leave them (real digits), and a reader of pages."""

import csv
import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.stats import binomtest
from sklearn.datasets import load_digits

from toughen.evaluation.verdicts import Verdicts, verdict_schema
from toughen.run import RunFolder

ATTACKS = ("fgsm", "pgd20", "autoattack")
MakeRun = Callable[..., RunFolder]


def figure(held: NDArray[np.bool_]) -> dict[str, Any]:
    n = len(held)
    bounds = binomtest(int(held.sum()), n).proportion_ci(method="wilson")
    return {
        "accuracy": float(held.mean()),
        "interval": [bounds.low, bounds.high],
        "held": int(held.sum()),
        "n": n,
    }


def write_training(folder: RunFolder, epochs: int, method: str) -> None:
    folder.write_config(
        {
            "data": {"class_path": "toughen.data.digits.Digits", "init_args": {}},
            "model": {"class_path": "toughen.models.small_cnn.SmallCNN", "init_args": {"width": 32}},
            "method": {
                "class_path": f"toughen.methods.{method.lower()}.{method}",
                "init_args": {"beta": 6.0},
            },
            "threat": {"norm": "linf", "eps": 0.1},
            "epochs": epochs,
            "out": str(folder.path),
        }
    )
    names = [
        *("epoch", "step", "lr", "train_loss", "loss/cross_entropy", "loss/kl", "val_clean", "val_pgd"),
        *("images_per_second", "seconds"),
    ]
    with folder.metrics.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for epoch in range(1, epochs + 1):
            done = epoch / epochs
            clean, pgd = 0.97 - 0.6 * 0.02**done, 0.75 - 0.6 * 0.05**done
            losses = [2.4 - 1.6 * done, 2.0 - 1.5 * done, 0.4 - 0.1 * done]
            rate = 0.1 * (1 - abs(2 * done - 1))
            writer.writerow([epoch, 11 * epoch, rate, *losses, clean, pgd if epoch % 2 == 0 else "", 21034.5, 0.8])


def write_evaluation(folder: RunFolder, *, n: int, seed: int, strength: float, **changes: Any) -> None:
    generator = np.random.default_rng(seed)
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[-n:, None]
    labels = digits.target[-n:].astype(np.int64)
    luck = generator.random(n)
    limits = {"clean": 0.95, "fgsm": 0.8 * strength, "pgd20": 0.7 * strength, "autoattack": 0.66 * strength}
    held = {name: luck < limit for name, limit in limits.items()}
    predictions = np.where(held["clean"], labels, (labels + 1) % 10)
    columns = {
        "index": np.arange(n),
        "label": labels,
        "clean_prediction": predictions,
        "clean_confidence": np.where(held["clean"], 0.9, 0.6),
        "clean": held["clean"],
    }
    for attack in ATTACKS:
        norms = [None if holds else 0.1 * right for holds, right in zip(held[attack], held["clean"], strict=True)]
        columns |= {attack: held[attack], f"{attack}_norm": norms}
        columns |= {
            f"{attack}_prediction": np.where(held[attack], labels, (labels + 3) % 10),
            f"{attack}_confidence": np.where(held[attack], 0.7, 0.5),
        }
    broken_by = np.where(held["autoattack"], None, np.where(held["clean"], "apgd-ce", "clean"))
    columns["autoattack_broken_by"] = broken_by
    Verdicts(pa.table(columns, schema=verdict_schema(ATTACKS, ["autoattack"]))).write(folder.verdicts)
    result = {
        "schema": 1,
        "robust_accuracy": figure(np.logical_and.reduce(list(held.values()))),
        "figures": {name: figure(values) for name, values in held.items()},
        "threat": {"norm": "linf", "eps": 0.1},
        "budget": "standard",
        "attacks": {
            "fgsm": {"steps": 1, "step_size": 0.1},
            "pgd20": {"steps": 20, "step_size": 0.025, "restarts": 1},
            "autoattack": {"attack": "AutoAttack", "components": ["apgd-ce", "apgd-t", "fab-t", "square"]},
        },
        "sample": "first",
        "seed": 0,
        "n": n,
        "data": {
            "name": "digits",
            "split": "test",
            "n_total": n,
            "sha256": "ab" * 32,
            "classes": [str(c) for c in range(10)],
        },
        "model": {"class": "toughen.models.build.Classifier", "sha256": "cd" * 32, "parameters": 23_434},
        "versions": {"python": "3.12.1", "torch": "2.6.0", "toughen": "0.1.0"},
        "seconds": {"fgsm": 0.2, "pgd20": 1.4, "autoattack": 41.3},
        "warnings": [],
        "created": "2026-01-31T12:00:00+00:00",
    }
    folder.result.write_text(json.dumps(result | changes))
    write_gallery(
        folder,
        images[:8],
        labels[:8],
        predictions[:8],
        np.where(held["autoattack"], labels, (labels + 3) % 10)[:8],
    )


def write_gallery(
    folder: RunFolder,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    before: NDArray[np.int64],
    after: NDArray[np.int64],
) -> None:
    noise = np.random.default_rng(0).choice([-0.1, 0.1], images.shape).astype(np.float32)
    save_file(
        {
            "clean": np.ascontiguousarray(images),
            "adversarial": np.clip(images + noise, 0, 1),
            "labels": np.ascontiguousarray(labels),
            "clean_predictions": np.ascontiguousarray(before),
            "adversarial_predictions": np.ascontiguousarray(after),
        },
        folder.gallery,
    )


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A function that makes a run folder; changes replace entries of result.json."""

    def make(
        name: str = "trades",
        *,
        method: str = "TRADES",
        epochs: int = 30,
        evaluated: bool = True,
        n: int = 360,
        seed: int = 0,
        strength: float = 1.0,
        **changes: Any,
    ) -> RunFolder:
        folder = RunFolder(tmp_path / "runs" / name)
        folder.create()
        if epochs:
            write_training(folder, epochs, method)
        if evaluated:
            write_evaluation(folder, n=n, seed=seed, strength=strength, **changes)
        return folder

    return make


@pytest.fixture
def fill_gallery() -> Callable[..., None]:
    """A function that replaces a run's gallery; see `write_gallery`."""
    return write_gallery


VOID = {"meta", "link", "img", "br", "hr", "input", "source"}


class Page(HTMLParser):
    """Every element with its attributes and its text; unbalanced tags are an error.

    Attributes:
        elements: (tag, attributes) in the order of the page.
        text: all text outside style elements, with single spaces.
        cells: text of every table cell.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.cells: list[str] = []
        self._open: list[str] = []
        self._texts: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"
        self.text = " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"{tag} closed at {self.getpos()} out of turn"

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self._texts.append(data)
        if any(tag in self._open for tag in ("td", "th")):
            self.cells[-1] = (self.cells[-1] + data).strip()

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def addresses(self) -> Iterator[str]:
        for _, attributes in self.elements:
            yield from (attributes[name] for name in ("src", "href", "data", "action", "poster") if name in attributes)


def check_self_contained(html: str) -> Page:
    """What holds for every page: nothing is loaded, everything has a text for those who do not see it."""
    page = Page(html)
    assert all(address.startswith(("#", "data:")) or ":" not in address for address in page.addresses())
    assert not page.all("script")
    assert "@import" not in html
    assert html.count("url(") == html.count("url(#")
    assert all(image["alt"] for image in page.all("img"))
    assert all(drawing["aria-label"] and drawing["role"] == "img" for drawing in page.all("svg"))
    ids = page.ids()
    assert len(ids) == len(set(ids))
    targets = {address[1:] for address in page.addresses() if address.startswith("#")}
    labels = {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert targets | labels <= set(ids)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    return page


@pytest.fixture
def read_page() -> type[Page]:
    """Reads HTML, or a fragment of it."""
    return Page


@pytest.fixture
def self_contained() -> Callable[[str], Page]:
    """Reads a whole page and checks what holds for every one; see `check_self_contained`."""
    return check_self_contained
