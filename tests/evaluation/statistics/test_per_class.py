"""Figures of each class and the confusion under attack, against plain loops."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa

from toughen.data import ImageSet
from toughen.evaluation import Evaluation, Verdicts, evaluate_model, wilson
from toughen.evaluation.records.verdicts import verdict_schema
from toughen.evaluation.statistics.per_class import MOST_CLASSES, confusion, per_class, strongest
from toughen.threat import ThreatModel


def table(attacks: dict[str, tuple[list, list]], labels: list[int]) -> Verdicts:
    """A verdict table with the given held and predicted classes of each attack."""
    n = len(labels)
    schema = verdict_schema(list(attacks))
    columns = {"index": list(range(n)), "label": labels, "clean_prediction": labels, "clean_confidence": [0.5] * n}
    columns["clean"] = [True] * n
    for name, (held, predictions) in attacks.items():
        columns |= {name: held, f"{name}_norm": [None] * n, f"{name}_prediction": predictions}
        columns[f"{name}_confidence"] = [0.5] * n
    return Verdicts(pa.table(columns, schema=schema))


def test_each_class_is_counted(standard: Evaluation) -> None:
    rows = standard.verdicts.table.to_pylist()
    found = standard.result["per_class"]
    assert [row["label"] for row in found] == sorted({row["label"] for row in rows})
    for row in found:
        own = [each for each in rows if each["label"] == row["label"]]
        robust = sum(each["clean"] and each["fgsm"] and each["pgd20"] and each["autoattack"] for each in own)
        assert (row["name"], row["n"]) == (str(row["label"]), len(own))
        assert (row["clean"]["held"], row["robust"]["held"]) == (sum(each["clean"] for each in own), robust)
        assert row["robust"]["interval"] == list(wilson(robust, len(own)))
    assert sum(row["robust"]["held"] for row in found) == standard.result["robust_accuracy"]["held"]


def test_confusion_is_of_the_strongest_attack(standard: Evaluation) -> None:
    facts = standard.result["confusion"]
    held = {name: standard.result["figures"][name]["held"] for name in ("fgsm", "pgd20", "autoattack")}
    assert facts["attack"] == min(held, key=lambda name: (held[name], -list(held).index(name)))
    counts = np.zeros((10, 10), dtype=int)
    for row in standard.verdicts.table.to_pylist():
        counts[row["label"], row[f"{facts['attack']}_prediction"]] += 1
    assert facts["counts"] == counts.tolist()
    assert np.trace(counts) == held[facts["attack"]]
    assert facts["nan_predictions"] == 0


def test_the_strongest_attack_saw_all_images() -> None:
    """The weaker of two that saw all, the last of equals; one on survivors never."""
    weak, strong = ([True, True, False], [0, 1, 0]), ([True, False, False], [0, 0, 0])
    survivors = ([False, False, False], [1, None, None])
    labels = [0, 1, 2]
    assert strongest(table({"weak": weak, "strong": strong, "late": survivors}, labels)) == "strong"
    assert strongest(table({"first": strong, "second": strong}, labels)) == "second"
    only = table({"late": survivors}, labels)
    assert strongest(only) is None
    assert confusion(only, 3) is None


def test_nan_is_in_no_column() -> None:
    verdicts = table({"attack": ([True, False, False], [0, -1, 1])}, [0, 1, 2])
    counts = [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert confusion(verdicts, 3) == {"attack": "attack", "counts": counts, "nan_predictions": 1}


def test_of_very_many_classes_there_is_no_table() -> None:
    verdicts = table({"attack": ([True], [0])}, [0])
    assert confusion(verdicts, MOST_CLASSES) is not None
    assert confusion(verdicts, MOST_CLASSES + 1) is None
    assert per_class(verdicts, ["zero"])[0]["n"] == 1


def test_classes_without_images_are_left_out_and_names_are_the_datas(network, images: ImageSet) -> None:
    named = replace(images, classes=tuple("abcdefghij"))
    settings = {"budget": "quick", "test_images": 3, "sample": "first", "device": "cpu", "checks": False}
    evaluation = evaluate_model(network, named, ThreatModel("linf", 0.08), **settings)
    labels = sorted(set(images.labels[:3].tolist()))
    assert [(row["label"], row["name"]) for row in evaluation.result["per_class"]] == [
        (label, "abcdefghij"[label]) for label in labels
    ]
    assert json.loads(json.dumps(evaluation.result, allow_nan=False)) == evaluation.result
