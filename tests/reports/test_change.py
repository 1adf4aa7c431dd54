"""What training changed, what the verdict says, and what the images were."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from toughen.reports import write_report
from toughen.reports.change import changes_of
from toughen.reports.run_data import RunData, read_run
from toughen.reports.verdict import verdict_of
from toughen.run import RunFolder

MakeRun = Callable[..., RunFolder]
DOUBT = {"name": "false_gradients", "severity": "doubt", "message": "the gradient is not the model's own"}
IMAGES = {
    "name": "photos",
    "splits": {"train": {"cat": 1200, "dog": 90}, "test": {"cat": 30, "dog": 10}},
    "drawn": True,
    "odd": [{"what": "in CMYK: converted to RGB", "images": 3}],
    "left_out": [{"split": "train", "image": "cat/<b>.jpg", "why": "it ends early"}],
}


def hardened(make_run: MakeRun, before: float = 0.1, **changes: Any) -> RunFolder:
    """A run, and in its folder the evaluation of the network that it started from."""
    run = make_run()
    start = make_run("start", epochs=0, strength=before, seed=5, **changes)
    start.path.rename(run.before)
    return run


def held(run: RunData) -> tuple[Any, Any]:
    assert run.before is not None and run.verdicts is not None
    return run.before.verdicts.robust(), run.verdicts.robust()


def test_the_change_is_counted_image_by_image(make_run: MakeRun) -> None:
    run = read_run(hardened(make_run))
    before, after = held(run)
    change = changes_of(run)["robust"]
    lost, won = np.sum(before & ~after), np.sum(after & ~before)
    assert (change.lost, change.won) == (lost, won)
    assert change.difference == pytest.approx(after.mean() - before.mean())
    assert change.p == pytest.approx(binomtest(int(won), int(won + lost)).pvalue)


def test_the_page_shows_both_networks(make_run: MakeRun, self_contained: Callable[[str], Any]) -> None:
    folder = hardened(make_run)
    page = self_contained(write_report(folder).read_text(encoding="utf-8"))
    assert "before" in [section["id"] for section in page.all("section")]
    assert verdict_of(read_run(folder)).startswith(
        "Training raised the share of images that are right under attack from"
    )


@pytest.mark.parametrize("changes", [{"threat": {"norm": "linf", "eps": 0.2}}, {"data": {"sha256": "other"}}])
def test_a_start_of_another_threat_or_other_images_is_not_compared(make_run: MakeRun, changes: dict[str, Any]) -> None:
    if "data" in changes:
        whole = read_run(make_run("whole")).result["data"]
        changes = {"data": {**whole, "sha256": "ef" * 32}}
    run = read_run(hardened(make_run, **changes))
    assert run.before is not None
    assert changes_of(run) == {}
    assert "Of 100 images like these, about" in verdict_of(run)


def test_the_verdict_is_that_of_the_figures(make_run: MakeRun) -> None:
    plain = read_run(make_run("plain"))
    assert f"about {100 * plain.result['robust_accuracy']['accuracy']:.0f} stay right under" in verdict_of(plain)
    assert "better than guessing" in verdict_of(read_run(make_run("weak", strength=0.12)))
    doubted = verdict_of(read_run(make_run("doubted", preflight=[DOUBT])))
    assert doubted.startswith("Do not rely on the") and "The gradient is the model's own" in doubted
    assert "show no change by training under attack" in verdict_of(read_run(hardened(make_run, before=1.0)))


def test_the_page_tells_the_classes_and_what_was_left_out(
    make_run: MakeRun, self_contained: Callable[[str], Any]
) -> None:
    run = make_run()
    run.write_data(IMAGES)
    html = write_report(run).read_text(encoding="utf-8")
    page = self_contained(html)
    assert "images" in [section["id"] for section in page.all("section")]
    for said in ("1,290 train images, 40 test images of 2 classes", "1 file was left out", "3 in CMYK", "1,200"):
        assert said in html
    assert "cat/&lt;b&gt;.jpg" in html
