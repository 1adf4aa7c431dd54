"""The files that training and evaluation leave in a run's folder, from real digits and chosen verdicts."""

import csv
import json
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.stats import binomtest
from sklearn.datasets import load_digits

from toughen.evaluation.records.verdicts import Verdicts, verdict_schema
from toughen.run import RunFolder

ATTACKS = ("fgsm", "pgd20", "autoattack")


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
            "clean_confidences": np.linspace(0.99, 0.6, len(labels), dtype=np.float32),
            "adversarial_confidences": np.where(after < 0, np.nan, np.linspace(0.97, 0.5, len(labels))).astype(
                np.float32
            ),
            "kinds": np.where(after == labels, 2, (after != labels).cumsum() > 1),
        },
        folder.gallery,
    )
