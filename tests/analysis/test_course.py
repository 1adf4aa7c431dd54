"""What a training recorded, in the explanations and on the pages."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import toughen
from toughen.analysis import Explained, HardImages
from toughen.analysis.course import conflict_course, weights_course
from toughen.attacks import GradientAttack
from toughen.methods import ARoW
from toughen.models import SmallCNN
from toughen.reports import write_report
from toughen.threat import ThreatModel
from toughen.training.trace.record import Followed, Record


def test_curves_are_the_rows_of_the_record() -> None:
    rows = [
        {"epoch": 1.0, "cosine/a, b": 0.5, "cosine/a, b/fc": 0.1, "cosine/a, c": -0.25},
        {"epoch": 2.0, "broken": 0.5},
        {"epoch": 4.0, "cosine/a, b": 0.0, "cosine/a, c": -0.75},
    ]
    figures, (picture,) = conflict_course(Record(rows))
    assert {name: each.value for name, each in figures.items()} == {
        "trained/cosine/a, b": 0.25,
        "trained/cosine/a, c": -0.5,
    }
    assert picture.data == {"x": [1.0, 4.0], "y": {"a, b": [0.5, 0.0], "a, c": [-0.25, -0.75]}}
    assert "a, c had cosine -0.5" in picture.sees
    assert conflict_course(Record()) == ({}, [])


def test_single_images_are_ordered_by_what_they_counted_in_all() -> None:
    weights = torch.tensor([[0.5, 2.0, torch.nan, 1.0], [0.5, 3.0, torch.nan, torch.nan]])
    places, labels = torch.tensor([10, 20, 30, 40]), torch.tensor([0, 1, 2, 3])
    followed = Followed(torch.tensor([1, 2]), places, labels, {"arow": weights}, torch.zeros(2, 4))
    (grid,) = weights_course(Record((), followed), "arow")
    assert grid.data["rows"] == ["20 (1)", "40 (3)", "10 (0)"]  # without the one that was never seen
    assert grid.data["columns"] == [1, 2]
    assert grid.data["values"][0] == [2.0, 3.0]


def test_prototypes_and_outliers_are_the_ends_of_each_class() -> None:
    """Features are the images: three classes on three lines, one image of each far from the others, and broken."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        network[1].weight.copy_(torch.eye(4)[:3] * 10)
        network[1].bias.zero_()
    labels = torch.arange(12) % 3
    images = torch.eye(4)[labels].reshape(12, 1, 2, 2) * 0.5
    images[:, 0, 1, 1] = torch.linspace(0, 0.1, 12)  # which the network does not see
    images[9:] = 0.0
    images[9:, 0, 1, 1] = 1.0
    one = Explained("one", network.eval(), images, images, labels, list("abc"), ThreatModel("linf", 0.1))
    with torch.no_grad():
        network[1].bias.copy_(torch.tensor([0.1, 0.0, 0.0]))  # of the three outliers two are misclassified
    insight = HardImages(measured=4).explain(one)
    assert insight is not None
    picture = next(each for each in insight.pictures if each.title == "Prototypes and outliers")
    assert torch.equal(picture.data["rows"]["least typical"], images[9:])
    assert insight.figures["outliers_broken"].value == pytest.approx(2 / 3)
    assert insight.figures["typical_broken"].value == 0.0
    assert len(insight.arrays["prototype_distance"]) == 12


def test_a_traced_run_is_drawn_in_its_report_and_its_analysis(tmp_path: Path) -> None:
    trained = toughen.train(
        model=partial(SmallCNN, width=4), method=ARoW(attack=GradientAttack(steps=1)), epochs=2, train_images=100,
        val_images=20, batch_size=25, budget="none", device="cpu", trackers=[], trace=["gradients", "weights"],
        out=str(tmp_path / "run"),
    )  # fmt: skip
    report = write_report(trained.folder).read_text()
    titles = re.findall(r"<h3>(.*?)</h3>", report)
    assert [title for title in titles if "gradients of the loss terms" in title or "weight" in title.lower()] == [
        "Cosine between the gradients of the loss terms",
        "Share of images that each weighting counts (Kish)",
        "Weight on images that the attack broke",
    ]
    found = toughen.analyze([str(tmp_path / "run")], only=["conflict", "images"], images=20, device="cpu")
    insights = {name: each["run"] for name, each in found.explanations.insights.items()}
    assert "trained/cosine/supervised, regularizer" in insights["conflict"].figures
    titles = [picture.title for each in insights.values() for picture in each.pictures]
    for title in ("Cosine over the training", "Prototypes and outliers", "What single training images count"):
        assert title in titles
    grid = next(each for each in insights["images"].pictures if each.title == "What single training images count")
    assert "weight of arow" in grid.sees
