import base64
import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from toughen.errors import RunError
from toughen.evaluation.records.evaluations import Evaluations
from toughen.reports import write_report
from toughen.reports.images import amplification
from toughen.reports.page import write_reports
from toughen.reports.run_data import read_run
from toughen.reports.sections import all_sections
from toughen.run import RunFolder

MakeRun = Callable[..., RunFolder]
Report = Callable[[RunFolder], tuple[str, Any]]


@pytest.fixture
def report(self_contained: Callable[[str], Any]) -> Report:
    def written(folder: RunFolder) -> tuple[str, Any]:
        path = write_report(folder)
        assert path == folder.report
        assert path.stat().st_size < 1_000_000
        html = path.read_text(encoding="utf-8")
        return html, self_contained(html)

    return written


def sections_of(page: Any) -> list[str]:
    return [attributes["id"] for attributes in page.all("section")]


def test_every_section_of_a_complete_run(make_run: MakeRun, report: Report) -> None:
    html, page = report(make_run())
    expected = ["summary", "attacks", "gallery", "training", "protocol", "configuration"]
    assert sections_of(page) == expected
    assert [a["href"] for a in page.all("a")] == [f"#{name}" for name in expected]
    assert len(page.all("h1")) == 1
    assert len(page.all("img")) == 8 * 3
    assert len(html) < 120_000


def test_figures_are_those_of_the_result(make_run: MakeRun, report: Report) -> None:
    folder = make_run()
    _, page = report(folder)
    result = folder.read_result()
    for figure in [*result["figures"].values(), result["robust_accuracy"]]:
        low, high = figure["interval"]
        assert f"{100 * figure['accuracy']:.1f} %" in page.cells
        assert f"{100 * low:.1f} to {100 * high:.1f}" in page.cells
        assert f"{figure['held']}/360" in page.cells
    robust = result["robust_accuracy"]
    assert f"{robust['held']} of 360 test images stay correctly classified" in page.text
    assert f"Robust accuracy (under attack) {100 * robust['accuracy']:.1f} %" in page.text
    assert "every pixel value (0 to 1) may change by at most 0.1" in page.text
    assert "guessing gives 10.0 %" in page.text
    assert "The largest change that broke an image: 0.1," in page.text
    assert "41 s" in page.cells
    assert page.text.count("2026-01-31 12:00 UTC") == 1


def test_bars_of_the_headline_span_the_interval(make_run: MakeRun, report: Report) -> None:
    folder = make_run()
    html, _ = report(folder)
    spans = re.findall(r'class="range" style="left: ([\d.]+)%; width: ([\d.]+)%"', html)
    result = folder.read_result()
    for (left, width), figure in zip(spans, (result["robust_accuracy"], result["figures"]["clean"]), strict=True):
        low, high = figure["interval"]
        assert (float(left), float(width)) == pytest.approx((100 * low, 100 * (high - low)), abs=0.006)


def test_protocol_and_configuration_are_complete(make_run: MakeRun, report: Report) -> None:
    folder = make_run()
    _, page = report(folder)
    for value in (
        "ab" * 32,
        "cd" * 32,
        "23434",
        "standard",
        "apgd-ce, apgd-t, fab-t, square",
        "0.025",
        "3.12.1",
    ):
        assert value in page.cells
    for line in folder.config.read_text().splitlines():
        assert line.strip() in page.text


def test_the_protocol_does_not_list_the_probes_numbers(make_run: MakeRun, report: Report) -> None:
    _, page = report(make_run(probe={"logits": [[-2.97622]], "sha256": "ef" * 32}))
    assert "-2.97622" not in page.text
    assert "probe" not in page.text


def test_warnings_come_before_the_figures(make_run: MakeRun, report: Report) -> None:
    _, page = report(make_run("warned", warnings=["the logits saturate", "the model is random"]))
    assert page.text.index("the logits saturate") < page.text.index("Robust accuracy (under attack)")
    assert "the model is random" in page.text
    _, page = report(make_run("calm"))
    assert "Read this before" not in page.text


def test_evaluated_only(make_run: MakeRun, report: Report) -> None:
    html, page = report(make_run(epochs=0))
    assert sections_of(page) == ["summary", "attacks", "gallery", "protocol"]
    assert "Training" not in page.text
    assert "Classifier" in page.text
    assert "None" not in page.text
    assert "Undefined" not in html


def test_trained_only(make_run: MakeRun, report: Report) -> None:
    _, page = report(make_run(evaluated=False))
    assert sections_of(page) == ["summary", "training", "configuration"]
    assert "toughen evaluate trades" in page.text


def test_the_command_that_repeats_the_run(make_run: MakeRun, report: Report) -> None:
    assert "toughen train --config config.yaml" in report(make_run("trained"))[1].text
    folder = make_run("evaluated", epochs=0)
    folder.write_config({"model": {"class_path": "my.Net", "init_args": {}}, "weights": "net.safetensors"})
    _, page = report(folder)
    assert "toughen evaluate --config config.yaml" in page.text
    assert "model Net" in page.text


def test_no_gallery_no_verdicts(make_run: MakeRun, report: Report) -> None:
    folder = make_run()
    folder.gallery.unlink()
    folder.verdicts.unlink()
    _, page = report(folder)
    assert "gallery" not in sections_of(page)
    assert "largest change" not in page.text


def test_everything_given_by_a_user_is_escaped(make_run: MakeRun, report: Report) -> None:
    evil = '<blink>x</blink><script>alert("1")</script>$y$'
    folder = make_run("run <i>", warnings=[evil])
    result = folder.read_result()
    result["data"] |= {"classes": [evil] * 10, "name": evil}
    result["figures"][evil] = result["figures"].pop("fgsm")
    result["attacks"] = {evil: {evil: evil}}
    folder.write_result(result)
    folder.write_config(folder.read_config() | {"method": {"class_path": f"my.{evil}", "init_args": {evil: evil}}})
    folder.metrics.write_text(folder.metrics.read_text().replace("loss/kl", "loss/<u>k</u>_&amp;"))
    html, page = report(folder)
    assert not {"blink", "u", "script"} & {tag for tag, _ in page.elements}
    assert "<i>" not in html
    assert page.text.count(evil) > 20
    assert "<u>k</u>_&amp;" in page.text


def png(address: str) -> np.ndarray:
    image = Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))
    return np.asarray(image)


ORDER = [1, 3, 4, 0, 2]
"""Of the cases below: the worst one, the typical ones, those that held."""


@pytest.mark.parametrize("channels", [1, 3])
def test_gallery_shows_the_images_themselves(
    make_run: MakeRun, report: Report, fill_gallery: Callable[..., None], channels: int
) -> None:
    folder = make_run()
    images = np.random.default_rng(1).random((5, channels, 12, 9), dtype=np.float32)
    labels, before, after = np.array([[0, 1, 2, 3, 4], [0, 1, 2, 3, 9], [0, 7, 2, -1, 9]])
    fill_gallery(folder, images, labels, before, after)
    _, page = report(folder)
    shown = page.all("img")
    assert len(shown) == 15
    gallery = read_run(folder).gallery
    factor = amplification(gallery["adversarial"] - gallery["clean"])
    assert factor == 5
    for case in range(5):
        delta = gallery["adversarial"][case] - gallery["clean"][case]
        expected = [gallery["clean"][case], 0.5 + 5 * delta, gallery["adversarial"][case]]
        place = ORDER.index(case)
        for attributes, picture in zip(shown[3 * place : 3 * place + 3], expected, strict=True):
            pixels = np.rint(255 * np.clip(picture, 0, 1)).transpose(1, 2, 0)
            assert np.array_equal(png(attributes["src"]).reshape(pixels.shape), pixels)
    assert "amplified 5 times" in page.text
    assert "9 x 12 pixels" in page.text
    badges = [a["class"] for a in page.all("span") if a.get("class", "").startswith("badge")]
    assert badges == [
        "badge fooled",
        "badge fooled",
        "badge wrong without attack",
        "badge held",
        "badge held",
    ]
    assert shown[2]["alt"] == "Adversarial image of class 1, predicted 7 with confidence 85.3 %"
    assert shown[5]["alt"] == "Adversarial image of class 3, predicted nothing (NaN)"
    assert shown[9]["alt"] == "Clean image of class 0, predicted 0 with confidence 99.0 %"
    assert "predicted 0 99.0 %" in page.text
    titles = ["Worst cases", "Typical cases", "Held"]
    assert sorted(titles, key=page.text.index) == titles


def test_large_images_stay_small_in_the_page(
    make_run: MakeRun, report: Report, fill_gallery: Callable[..., None]
) -> None:
    folder = make_run()
    images = np.random.default_rng(1).random((12, 3, 224, 160), dtype=np.float32)
    labels = np.arange(12) % 10
    fill_gallery(folder, images, labels, labels, np.where(np.arange(12) < 6, labels, 0))
    _, page = report(folder)
    shown = page.all("img")
    assert 3 * 4 <= len(shown) < 3 * 12
    assert all(title in page.text for title in ("Worst cases", "Typical cases", "Held"))
    assert png(shown[0]["src"]).shape == (96, 69, 3)
    assert "160 x 224 pixels, shown with 96 on the longer side" in page.text


def test_nothing_to_report(make_run: MakeRun) -> None:
    folder = make_run(epochs=0, evaluated=False)
    with pytest.raises(RunError, match=r"no result\.json; make it with `toughen evaluate"):
        write_report(folder)


def test_a_file_that_is_not_ours_stays(make_run: MakeRun) -> None:
    folder = make_run()
    folder.report.write_text("my notes")
    with pytest.raises(RunError, match="not a page of toughen"):
        write_report(folder)
    assert folder.report.read_text() == "my notes"


def test_a_report_replaces_the_last_one(make_run: MakeRun) -> None:
    folder = make_run()
    first = write_report(folder).read_text()
    assert write_report(folder).read_text() == first
    folder.write_config(folder.read_config() | {"epochs": 31})
    assert "epochs: 31" in write_report(folder).read_text()


def test_sections_and_templates_belong_together() -> None:
    from toughen.reports.page import environment

    sections = all_sections()
    places = [section.place for section in sections]
    assert places == sorted(set(places))
    shared = {"base", "style.css", "macros", "report", "comparison", "comparison_seeds", "comparison_transfer"}
    shared |= {"analysis", "card.md", "study", "sweep"}
    templates = {name.removesuffix(".j2").removesuffix(".html") for name in environment().list_templates()}
    assert templates - shared == {section.name for section in sections}


def test_pages_of_several_evaluations(make_run: MakeRun, self_contained: Callable[[str], Any]) -> None:
    """The run's page names all of them, the headline first; each has a page that leads back."""
    folder = make_run()
    kept = Evaluations(folder)
    kept.take_in()
    first = write_reports(kept.all()[0][0])
    assert "evaluations" not in sections_of(self_contained(folder.report.read_text())), "there is but one"
    result = folder.read_result()
    quick = {**result, "budget": "quick", "created": "2026-02-01T12:00:00+00:00", "complete": False}
    folder.write_result(quick)
    kept.take_in()
    kept.choose_headline()
    places = [place for place, _ in kept.all()]
    assert list(map(write_reports, places)) == [first, places[1].report]
    page = self_contained(folder.report.read_text())
    assert "evaluations" in sections_of(page)
    links = [a["href"] for a in page.all("a") if a["href"].endswith(".html")]
    assert links == [f"evaluations/{place.path.name}/report.html" for place in places]
    assert "quick linf 0.1 digits" in page.text
    assert "incomplete 2026-02-01 12:00 UTC" in page.text
    assert folder.read_result() == result
    for place in places:
        page = self_contained(place.report.read_text())
        assert sections_of(page) == ["summary", "attacks", "gallery", "training", "protocol", "configuration"]
        assert "../../report.html" in [a["href"] for a in page.all("a")]
    before = [path.stat().st_mtime_ns for path in (folder.report, first)]
    write_reports(places[0])
    assert before == [path.stat().st_mtime_ns for path in (folder.report, first)], "what is up to date stays"
