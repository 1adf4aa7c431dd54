"""The key: the same for the same evaluation, another one for any change that verdicts depend on."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from toughen.data.source import Decoded, ImageSet
from toughen.errors import RunError
from toughen.evaluation import EvaluationSpec, prepare
from toughen.evaluation.preflight import Finding
from toughen.threat import ThreatModel

SETTINGS = {"budget": "quick", "test_images": 20, "sample": "first", "batch_size": 10, "seed": 3, "device": "cpu"}


def spec(network: nn.Module, images: ImageSet, threat: ThreatModel = ThreatModel("linf", 0.08), **settings: Any):
    return prepare(network, images, threat, **{**SETTINGS, **settings}).spec


def one_weight(network: nn.Module) -> nn.Module:
    changed = copy.deepcopy(network)
    with torch.no_grad():
        changed[4].bias[3] += 1e-6
    return changed


def one_pixel(images: ImageSet) -> ImageSet:
    pixels = images.images.take(torch.arange(len(images)))
    pixels[19, 0, 7, 7] ^= 1
    return replace(images, images=Decoded(pixels))


def one_label(images: ImageSet) -> ImageSet:
    labels = images.labels.clone()
    labels[4] = (labels[4] + 1) % 10
    return replace(images, labels=labels)


def test_the_same_evaluation_has_the_same_key(network, images):
    first = spec(network, images)
    assert first.key == spec(copy.deepcopy(network).train(), images, device="auto").key
    assert len(first.key) == 64


@pytest.mark.parametrize(
    "change",
    [
        lambda network, images: spec(one_weight(network), images),
        lambda network, images: spec(network, one_pixel(images)),
        lambda network, images: spec(network, one_label(images)),
        lambda network, images: spec(network, images, ThreatModel("linf", 0.081)),
        lambda network, images: spec(network, images, ThreatModel("l2", 0.08)),
        lambda network, images: spec(network, images, budget="standard"),
        lambda network, images: spec(network, images, seed=4),
        lambda network, images: spec(network, images, batch_size=5),
        lambda network, images: spec(network, images, test_images=19),
        lambda network, images: spec(network, images, sample="random"),
        lambda network, images: spec(network, images, eot=2),
        lambda network, images: spec(network, images, transfer={"other": network}),
    ],
    ids=["weight", "pixel", "label", "eps", "norm", "attacks", "seed", "batches", "images", "sample", "eot", "source"],
)
def test_any_change_gives_another_key(network, images, change: Callable[[nn.Module, ImageSet], EvaluationSpec]):
    assert change(network, images).key != spec(network, images).key


def test_an_attacks_setting_gives_another_key(network, images):
    first = spec(network, images)
    protocol = copy.deepcopy(dict(first.protocol))
    protocol["attacks"]["pgd20_margin"]["restarts"] = 6
    assert EvaluationSpec(protocol).key != first.key
    # The order of the attacks matters: those on survivors depend on what comes before.
    attacks = dict(reversed(first.protocol["attacks"].items()))
    assert EvaluationSpec({**first.protocol, "attacks": attacks}).key != first.key


def test_an_image_that_is_not_evaluated_does_not_matter(network, images):
    pixels = images.images.take(torch.arange(len(images)))
    pixels[25] += 1
    assert spec(network, replace(images, images=Decoded(pixels))).key == spec(network, images).key


def test_batches_of_images(network, images):
    made = spec(network, images, test_images=25)
    assert (made.n, made.batches) == (25, 3)
    assert [made.images_in(number) for number in range(3)] == [10, 10, 5]
    assert made.attacks == ("fgsm", "pgd20_margin")


def test_what_differs_is_named(network, images):
    first, second = spec(network, images), spec(one_weight(network), images, ThreatModel("linf", 0.1))
    named = [difference.partition(" ")[0] for difference in first.differences(second)]
    assert "threat.eps" in named
    assert "model.sha256" in named
    assert not any(name.startswith("data") for name in named)
    assert first.differences(first) == []


def test_written_and_read(tmp_path: Path, network, images):
    findings = (Finding("odd", "note", "look", {"n": 3}), Finding("worse", "doubt", "beware"))
    made = replace(spec(network, images), findings=findings)
    made.write(tmp_path / "evaluation.json")
    read = EvaluationSpec.read(tmp_path / "evaluation.json")
    assert read == made
    assert read.key == made.key
    assert read.warnings == ("beware",)
    assert list(read.protocol["attacks"]) == list(made.protocol["attacks"])


def test_a_file_of_another_version_is_refused(tmp_path: Path, network, images):
    path = tmp_path / "evaluation.json"
    spec(network, images).write(path)
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "key": "0" * 64}))
    with pytest.raises(RunError, match="another version of toughen"):
        EvaluationSpec.read(path)
    path.write_text("{")
    with pytest.raises(RunError, match="cannot read"):
        EvaluationSpec.read(path)
