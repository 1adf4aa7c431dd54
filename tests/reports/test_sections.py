"""The sections on what an evaluation records beside its figures."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from toughen.reports import write_report
from toughen.reports.page import render
from toughen.reports.run_data import RunData, read_run
from toughen.reports.sections import all_sections
from toughen.run import RunFolder

Read = Callable[..., Any]
STUDIED = ["curve", "checks", "per_class", "confusion", "calibration", "norms", "corruptions"]


@pytest.fixture(scope="module")
def run(studied_run: RunFolder) -> RunData:
    return read_run(studied_run)


@pytest.fixture
def read(run: RunData, read_page: Callable[[str], Any]) -> Read:
    """A function that builds one section of the run, with changed entries in its result, and reads it."""
    sections = {section.name: section for section in all_sections()}

    def build(name: str, **changes: Any) -> Any:
        context = sections[name].build(replace(run, result=run.result | changes))
        return None if context is None else read_page(render(name, **context))

    return build


def test_every_study_has_its_section_and_stands_in_the_navigation(
    studied_run: RunFolder, self_contained: Callable[[str], Any]
) -> None:
    html = write_report(studied_run).read_text(encoding="utf-8")
    assert len(html) < 200_000
    page = self_contained(html)
    expected = ["summary", "attacks", *STUDIED[:2], "gallery", *STUDIED[2:], "training", "protocol", "configuration"]
    assert [section["id"] for section in page.all("section")] == expected
    links = [address for address in page.addresses() if address.startswith("#")]
    assert links[: len(expected)] == [f"#{name}" for name in expected]


@pytest.mark.parametrize("name", STUDIED)
def test_a_section_without_its_facts_is_left_out(run: RunData, name: str) -> None:
    keys = ("analyses", "per_class", "confusion", "calibration", "checks", "preflight")
    result = {key: value for key, value in run.result.items() if key not in keys}
    section = next(section for section in all_sections() if section.name == name)
    for empty in ({}, {"analyses": {}, "per_class": [], "confusion": None, "calibration": dict.fromkeys(("clean",))}):
        assert section.build(replace(run, result=result | empty)) is None


def test_a_failed_check_stands_beside_the_headline(read: Read) -> None:
    page = read("summary")
    robust, clean = page.text.index("Robust accuracy (under attack)"), page.text.index("Clean accuracy (no attack)")
    assert robust < page.text.index("gradient masking suspected") < clean
    assert page.text.index("A larger radius never helps the model", robust) < clean
    assert {"#checks", "#check-eps_never_helps"} == set(page.addresses())
    assert "self-checks 1 passed, 1 failed, 1 not judged" in page.text


def test_no_failed_check_no_badge(read: Read, make_studies: Callable[..., Any]) -> None:
    studies = make_studies(failed=())
    page = read("summary", **studies)
    assert "masking" not in page.text
    assert "self-checks 2 passed, 1 not judged" in page.text
    assert "None was found, as far as it could be judged." in read("checks", **studies).text


def test_checks_failed_ones_first(read: Read) -> None:
    page = read("checks")
    assert "1 of 3 failed: gradient masking is suspected" in page.text
    order = [page.text.index(word) for word in ("failed A larger radius", "not judged Images", "passed An iterative")]
    assert order == sorted(order)
    assert {"check-eps_never_helps", "check-transfer_never_wins"} < set(page.ids())
    assert "0.05: 80.0 %, 0.1: 61.0 %, 0.2: 64.5 %" in page.text


def test_findings_before_the_attacks_doubts_first(read: Read) -> None:
    text = read("checks").text
    assert text.index("doubt Saturated logits 31.0 %") < text.index("note Dtype the weights are fp64")
    assert "nothing to remark" in read("checks", preflight=[]).text


def test_curve(read: Read) -> None:
    page = read("curve")
    assert "is 62.7 % , 95 % interval 58.0 to 67.0 %" in page.text
    assert all(cell in page.cells for cell in ("0.025", "90.0 %", "85.1 to 93.4", "180/200"))
    (drawing,) = page.all("svg")
    assert "0.1: 60.0 % (95 % interval 53.1 to 66.5 %)" in drawing["aria-label"]


@pytest.mark.parametrize(("classes", "shown"), [(2, 2), (10, 10), (20, 20), (21, 20), (200, 20)])
def test_classes(read: Read, make_studies: Callable[..., Any], classes: int, shown: int) -> None:
    facts = make_studies(num_classes=classes)
    page = read("per_class", **facts)
    names = [cell for cell in page.cells if re.fullmatch(r"class \d+", cell)]
    rows = sorted(facts["per_class"], key=lambda row: (row["robust"]["accuracy"], row["label"]))
    assert sorted(names) == sorted(row["name"] for row in rows[:shown])
    assert f"over {classes} classes" in page.text
    assert f"{100 * rows[0]['robust']['accuracy']:.1f} % ({rows[0]['name']})" in page.text
    assert ("Shown are the 20 worst" in page.text) == (classes > 20)


@pytest.mark.parametrize("classes", [2, 20, 21, 200])
def test_confusions(read: Read, make_studies: Callable[..., Any], classes: int) -> None:
    facts = make_studies(num_classes=classes)
    counts = np.array(facts["confusion"]["counts"])
    page = read("confusion", **facts)
    assert f"What {counts.sum()} images are taken for under PGD-20" in page.text
    assert "2 more have no prediction (NaN)" in page.text
    cells = [cell for cell in page.all("td") if cell.get("class", "").startswith("heat") and "taken for" in str(cell)]
    assert len(cells) == (classes**2 if classes <= 20 else 0)
    if cells:
        # Row by row, as the page reads; the shade is the share of the true class.
        shade = [int(re.search(r"--share: (\d+)%", cell["style"])[1]) for cell in cells]  # type: ignore[index]
        shares = counts / counts.sum(1, keepdims=True)
        assert np.abs(np.array(shade) - 55 * shares.flatten()).max() <= 0.51
        diagonal = [place for place, cell in enumerate(cells) if "same" in cell["class"]]
        assert diagonal == [i * (classes + 1) for i in range(classes)]
    largest = (counts - np.diag(np.diag(counts))).max()
    first = page.cells.index("of the class") + 1
    assert page.cells[first + 2] == str(largest)
    truth, taken_for = int(page.cells[first]), int(page.cells[first + 1])
    assert counts[truth, taken_for] == largest


def test_confusion_without_errors(read: Read) -> None:
    facts = {"attack": "fgsm", "counts": (7 * np.eye(10, dtype=int)).tolist(), "nan_predictions": 0}
    assert "No image is taken for another class." in read("confusion", confusion=facts).text


def test_calibration(read: Read) -> None:
    page = read("calibration")
    first = page.cells.index("ECE") + 1
    assert page.cells[first : first + 10] == [
        *("clean", "360", "60.0 %", "60.0 %", "3.1 %"),
        *("adversarial (PGD-20)", "360", "60.0 %", "30.6 %", "21.4 %"),
    ]
    label = next(svg["aria-label"] for svg in page.all("svg") if "confidence" in svg["aria-label"])
    assert "95.0 % sure, 65.0 % right" in label
    assert label.count("sure") == 16


def test_calibration_of_clean_images_alone(read: Read, make_studies: Callable[..., Any]) -> None:
    facts = make_studies()["calibration"]["clean"]
    empty = [{**each, "confidence": None, "accuracy": None} if not each["n"] else each for each in facts["bins"]]
    page = read("calibration", calibration={"clean": {**facts, "bins": empty}, "adversarial": None})
    assert "3.1 %" in page.cells
    assert "adversarial (" not in page.text


def test_other_attacks(read: Read) -> None:
    page = read("norms")
    for threat, accuracy in (("l2 0.5", "61.0 %"), ("l1 3", "47.0 %"), ("linf 0.1", "72.0 %")):
        place = page.cells.index(threat)
        assert page.cells[place + 1] == accuracy
    assert "HopSkipJump sees decisions only, 5,000 queries, 20 steps" in page.text
    assert "Half of the 100 images need a change of at most 0.118" in page.text
    assert "By this attack alone, 66.0 % (56.3 to 74.5 %) hold" in page.text
    assert "5 misclassified without a change (not in the histogram); 2 for which nothing was found" in page.text


def test_a_minimum_norm_that_was_never_found(read: Read, make_studies: Callable[..., Any]) -> None:
    facts = make_studies()["analyses"]["minimum_norm"]
    none = {**facts, "median": None, "norms": [None, 0.0, None], "quantiles": {}}
    page = read("norms", analyses={"minimum_norm": none})
    assert "1 misclassified without a change; 2 for which nothing was found" in page.text
    assert "Half of" not in page.text


def test_corruptions(read: Read) -> None:
    page = read("corruptions")
    first = page.cells.index("jpeg compression")
    assert page.cells[first : first + 5] == ["jpeg compression", "87.0", "71.0", "55.0", "71.0"]
    rows = [cell for cell in page.cells if cell in ("gaussian noise", "motion blur", "fog", "jpeg compression")]
    assert rows == ["jpeg compression", "fog", "motion blur", "gaussian noise"]
    assert "Mean accuracy over 4 corruptions: 80.0 % (95 % interval 76.0 to 84.0 %), against" in page.text
    assert "corrupted by imagecorruptions at 4 times their size" in page.text
    titles = [cell["title"] for cell in page.all("td") if cell.get("title", "").startswith("95 % interval")]
    assert "95 % interval 81.6 to 91.0 %" in titles


def test_settings_of_the_studies_stand_in_the_protocol(read: Read) -> None:
    page = read("protocol")
    assert "Eps curve settings" in page.text
    assert "Minimum norm settings" in page.text
    assert "1, 3, 5" in page.cells


def test_attacks_that_did_not_run(read: Read) -> None:
    page = read("attacks", planned={"n": 360, "attacks": ["fgsm", "pgd20", "autoattack", "square"]})
    assert page.cells[page.cells.index("Square") + 1] == "not run"
