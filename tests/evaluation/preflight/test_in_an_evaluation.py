"""Findings in an evaluation: warnings before the attacks, and their place in the result."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import zoo
from torch import nn

from toughen.data import ImageSet
from toughen.data.source import Decoded
from toughen.errors import InputError, ToughenWarning
from toughen.evaluation import Shard, evaluate_model, find_parts, merge_parts, prepare
from toughen.run import RunFolder
from toughen.threat import ThreatModel

THREAT = ThreatModel("linf", 0.08)
SETTINGS = {"budget": "quick", "test_images": 20, "batch_size": 10, "device": "cpu", "checks": False}


def test_findings_stand_in_the_result(network: nn.Module, images: ImageSet):
    model = zoo.HugeTemperature(network).train()
    with pytest.warns(ToughenWarning, match="underflows for 100"):
        result = evaluate_model(model, images, THREAT, **SETTINGS).result
    assert json.loads(json.dumps(result["preflight"])) == result["preflight"]
    assert [(finding["name"], finding["severity"]) for finding in result["preflight"]] == [
        ("train_mode_given", "note"),
        ("saturated_logits", "doubt"),
    ]
    assert result["warnings"] == [result["preflight"][1]["message"]]
    assert result["preflight"][1]["figures"]["underflow"] == 1


def test_shards_tell_what_one_process_tells(tmp_path: Path, network: nn.Module, images: ImageSet):
    """The images that are looked at are those of all shards, so the findings of each are those of the whole."""
    model, folders = zoo.Clipped(network, 4.0).eval(), [RunFolder(tmp_path / name) for name in ("a", "b")]
    with pytest.warns(ToughenWarning, match="clipped"):
        whole = evaluate_model(model, images, THREAT, **SETTINGS).result
    for number, folder in enumerate(folders):
        with pytest.warns(ToughenWarning, match="clipped"):
            evaluate_model(model, images, THREAT, shard=Shard(number + 1, 2), folder=folder, **SETTINGS)
    assert [finding["name"] for finding in whole["preflight"]] == ["clipped_logits"]
    merged = merge_parts(find_parts(folders)).result
    assert merged["preflight"] == whole["preflight"]
    assert merged["warnings"] == whole["warnings"]


def test_a_model_without_gradients_can_be_evaluated(network: nn.Module, images: ImageSet, short_autoattack):
    """Gradient attacks run in vain; Square, which needs none, is what breaks images."""
    model = zoo.Undifferentiable(network).eval()
    settings = {**SETTINGS, "budget": "standard", "test_images": 8}
    with pytest.warns(ToughenWarning, match="cannot be differentiated"):
        evaluation = evaluate_model(model, images, ThreatModel("linf", 0.3), **settings)
    clean = evaluation.verdicts.held("clean")
    assert (evaluation.verdicts.held("fgsm") == clean).all()
    components = evaluation.verdicts.table["autoattack_broken_by"].to_pylist()
    assert "square" in components
    assert evaluation.verdicts.robust().sum() < clean.sum()


def test_sorted_data_shows_all_its_classes(network: nn.Module, images: ImageSet):
    """Images are looked at from everywhere: those of the last class alone are not as they should be."""
    order = images.labels.argsort(stable=True)
    pixels = images.images.take(order)
    pixels[-180:] = 0
    dark = replace(images, images=Decoded(pixels), labels=images.labels[order])
    with pytest.warns(ToughenWarning) as caught:
        prepare(network, replace(dark, labels=dark.labels.roll(180)), THREAT, device="cpu")
    assert any("guessing among 10 classes" in str(warning.message) for warning in caught)


def test_a_late_label_of_no_class_stops_it_before_the_first_attack(network: nn.Module, images: ImageSet):
    labels = images.labels.clone()
    labels[1] = 10
    with pytest.raises(InputError, match=r"labels: expected values in 0 \.\. 9 for 10 classes, got 0 \.\. 10"):
        prepare(network, replace(images, labels=labels), THREAT, device="cpu")


def test_the_models_flags_come_back(network: nn.Module, images: ImageSet):
    model = zoo.Around(network).network.train()
    model[1].eval()
    prepare(model, images, THREAT, device="cpu")
    assert [module.training for module in model] == [True, False, True, True, True]
    assert all(torch.equal(first, second) for first, second in zip(model.buffers(), network.buffers(), strict=True))
