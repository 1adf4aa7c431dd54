import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from toughen.reports.plots import (
    attack_plot,
    class_plot,
    clean_robust_plot,
    cost_plot,
    curve_plot,
    legend,
    line_plot,
    norm_plot,
    reliability_plot,
)

ReadPage = Callable[[str], Any]

FIGURES = {
    "clean": {"accuracy": 0.9, "interval": [0.85, 0.93]},
    "pgd20": {"accuracy": 0.5, "interval": [0.4, 0.62]},
    "autoattack": {"accuracy": 0.2, "interval": [0.1, 0.33]},
}


def points(svg: str) -> np.ndarray:
    """Where markers stand in a drawing, in its order."""
    return np.array(re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', svg), dtype=float)


def test_attack_plot_is_to_scale() -> None:
    svg = attack_plot(FIGURES, "a")
    ticks = re.findall(r'x="([\d.]+)" y="[\d.]+"[^>]*>(\d+)<', svg)
    scale, offset = np.polyfit([float(value) for _, value in ticks], [float(x) for x, _ in ticks], 1)
    drawn = sorted(round((x - offset) / scale, 1) for x, _ in points(svg))
    expected = sorted(100 * value for f in FIGURES.values() for value in (f["accuracy"], *f["interval"]))
    assert drawn == pytest.approx(expected, abs=0.1)


def test_attack_plot_says_its_figures(read_page: ReadPage) -> None:
    (drawing,) = read_page(attack_plot(FIGURES, "a")).all("svg")
    assert "PGD-20 50.0 % (95 % interval 40.0 to 62.0 %)" in drawing["aria-label"]


def test_clean_robust_plot_is_to_scale_and_numbered() -> None:
    runs = [
        {"name": name, "clean": clean, "robust": robust}
        for name, clean, robust in [
            ("a", FIGURES["clean"], FIGURES["pgd20"]),
            ("b", FIGURES["pgd20"], FIGURES["autoattack"]),
            ("c", FIGURES["clean"], FIGURES["autoattack"]),
        ]
    ]
    svg = clean_robust_plot(runs, "c")
    labels = {
        text: (float(x), float(y))
        for x, y, text in re.findall(r'var\(--paper\)" x="([\d.]+)" y="([\d.]+)"[^>]*>(\d)<', svg)
    }
    (ax, ay), (bx, by), (cx, cy) = labels["1"], labels["2"], labels["3"]
    assert ax == pytest.approx(cx)
    assert by == pytest.approx(cy)
    assert ax > bx
    # SVG's y grows downwards.
    assert ay < by


def test_of_a_cluster_the_front_and_the_best_are_numbered() -> None:
    costs = [(3e11 + 1e8 * place, 0.8 - 0.0005 * place) for place in range(20)] + [(1e10, 0.2), (8e10, 0.5)]
    svg = cost_plot(costs, {7, 20}, "FLOPs", "k")
    numbers = re.findall(r'var\(--paper\)" x="[\d.]+" y="[\d.]+"[^>]*>(\d+)<', svg)
    assert sorted(numbers, key=int) == ["8", "21", "22"]  # not 1: 8 is on the front and lies on it
    assert len(re.findall(r"<use ", svg)) - len(numbers) >= 19  # the dots
    sizes = set(map(float, re.findall(r"font-size: ([\d.]+)px", svg)))
    assert sizes == {9.5}  # smaller ones cannot be read on a telephone


def test_curve_is_to_scale_with_its_band_and_radius(read_page: ReadPage) -> None:
    accuracies = [0.9, 0.6, 0.25]
    curve = [
        {"eps": eps, "accuracy": a, "interval": [a - 0.1, a + 0.05]}
        for eps, a in zip((0, 4 / 255, 8 / 255), accuracies, strict=True)
    ]
    svg = curve_plot(curve, 6 / 255, "linf", "c")
    drawn = points(svg)[1:]  # the first is the band
    assert all(f">{text}<" in svg for text in ("4/255", "8/255", "evaluated: 6/255"))
    # Linear in both directions: x by radius, y by accuracy, and y grows downwards.
    x, y = drawn[:, 0], drawn[:, 1]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1])
    assert (y[1] - y[0]) / (y[2] - y[1]) == pytest.approx(0.3 / 0.35, rel=1e-3)
    (drawing,) = read_page(svg).all("svg")
    assert "8/255: 25.0 % (95 % interval 15.0 to 30.0 %)" in drawing["aria-label"]


def test_a_radius_beyond_the_curve_is_not_marked() -> None:
    curve = [{"eps": eps, "accuracy": 0.5, "interval": [0.4, 0.6]} for eps in (0.0, 0.1)]
    assert "evaluated" not in curve_plot(curve, 0.2, "l2", "c")


def test_bars_of_classes_are_to_scale(read_page: ReadPage) -> None:
    rows = [
        {"name": name, "clean": FIGURES["clean"], "robust": FIGURES[robust]}
        for name, robust in (("cat", "pgd20"), ("an extraordinarily long name", "autoattack"))
    ]
    svg = class_plot(rows, "k")
    numbers = re.findall(r'x="([\d.]+)" y="[\d.]+"[^>]*>(\d+)<', svg)
    scale, offset = np.polyfit([float(value) for _, value in numbers], [float(x) for x, _ in numbers], 1)
    drawn = sorted(round((x - offset) / scale, 1) for x, _ in points(svg))
    assert drawn == pytest.approx([20, 50, 90, 90], abs=0.1)
    assert ">an extraordin\u2026<" in svg
    (drawing,) = read_page(svg).all("svg")
    assert "an extraordinarily long name 90.0 % and 20.0 %" in drawing["aria-label"]


def test_perfect_calibration_lies_on_the_diagonal() -> None:
    bins = [{"confidence": c, "accuracy": c, "interval": [c - 0.1, c]} for c in (0.2, 0.5, 0.9)]
    off = [{"confidence": c, "accuracy": c - 0.2, "interval": [0, 1]} for c in (0.2, 0.5)]
    svg = reliability_plot({"clean": bins, "adversarial": off}, "r")
    drawn = points(svg)
    on, below = drawn[:3], drawn[3:]
    slope, offset = np.polyfit(on[:, 0], on[:, 1], 1)
    assert on[:, 1] == pytest.approx(slope * on[:, 0] + offset, abs=1e-3)
    # SVG's y grows downwards.
    assert (below[:, 1] > slope * below[:, 0] + offset + 5).all()
    assert "90.0 % sure, 90.0 % right" in svg


def test_histogram_of_norms_counts_every_image(read_page: ReadPage) -> None:
    norms = np.random.default_rng(0).uniform(0.01, 0.2, 57).tolist()
    svg = norm_plot(norms, 0.1, "linf", "n")
    line = r"L [\d.]+ ([\d.]+) \n"
    bars = re.findall(rf'd="M [\d.]+ [\d.]+ \n{line}{line}{line}z\n"[^>]*fill: var\(--series-2\)', svg)
    heights = np.array([float(bottom) - float(top) for bottom, top, _ in bars])
    counts, _ = np.histogram(norms, bins=20, range=(0, max(norms) * 1.02))
    assert heights / heights.max() == pytest.approx(counts / counts.max(), abs=1e-4)
    (drawing,) = read_page(svg).all("svg")
    assert f"{sum(norm <= 0.1 for norm in norms)} within the radius of 0.1" in drawing["aria-label"]


def test_lines_leave_out_what_was_not_measured(read_page: ReadPage) -> None:
    nan = float("nan")
    svg = line_plot(
        [1, 2, 3, 4],
        {"clean": [0.1, 0.2, 0.3, 0.4], "PGD": [nan, 0.1, nan, 0.2]},
        name="l",
        title="T",
        unit="%",
    )
    assert len(points(svg)) == 6
    (drawing,) = read_page(svg).all("svg")
    assert drawing["aria-label"] == "T over 4 epochs: clean from 10% to 40%; PGD from 10% to 20%"


def test_terms_far_apart_get_a_logarithmic_axis_in_plain_numbers() -> None:
    near = line_plot([1, 2], {"a": [1, 2], "b": [0.2, 0.1]}, name="l", title="T")
    far = line_plot([1, 2], {"a": [1, 2], "b": [0.01, 0.02]}, name="l", title="T")
    signed = line_plot([1, 2], {"a": [1, 2], "b": [-0.01, 0.02]}, name="l", title="T")
    assert ["logarithmic" in svg for svg in (near, far, signed)] == [False, True, False]
    assert ">0.01<" in far
    assert "$" not in far


def test_one_epoch_is_drawn() -> None:
    assert len(points(line_plot([1], {"clean": [0.5]}, name="l", title="T", unit="%"))) == 1


def test_many_series_differ_in_colour_or_dash() -> None:
    series = {f"term {number}": [1.0, 2.0] for number in range(15)}
    entries = legend(series)
    assert [entry["name"] for entry in entries] == list(series)
    assert len({(entry["color"], entry["dash"]) for entry in entries}) == 15
    assert entries[0]["value"] == "2"
    assert legend({"x": [0.5, float("nan")]}, "%")[0]["value"] == "50.0 %"


def test_two_drawings_share_no_id_and_no_style_leaks(read_page: ReadPage) -> None:
    first, second = (read_page(attack_plot(FIGURES, name)) for name in ("a", "b"))
    assert first.ids()
    assert not set(first.ids()) & set(second.ids())
    assert {address[1:] for address in first.addresses()} <= set(first.ids())
    assert not first.all("style")


def test_colours_follow_the_page() -> None:
    svg = attack_plot(FIGURES, "a")
    assert "var(--series-1)" in svg
    assert "var(--series-2)" in svg
    assert "#0" not in svg.replace('href="#', "")


def test_names_are_text_not_markup(read_page: ReadPage) -> None:
    page = read_page(attack_plot({"<b>$x$</b>": FIGURES["clean"]}, "a"))
    assert "<b>$x$</b>" in page.text


def test_matplotlib_stays_as_the_caller_left_it() -> None:
    code = (
        "import matplotlib as mpl, sys; before = mpl.rcParams.copy();"
        "from toughen.reports.plots import line_plot; line_plot([1], {'a': [1]}, name='l', title='T');"
        "assert mpl.rcParams.copy() == before; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_users_matplotlib_style_does_not_reach_the_report() -> None:
    plain = attack_plot(FIGURES, "a")
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red"}):
        assert attack_plot(FIGURES, "a") == plain
