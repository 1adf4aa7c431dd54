import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from toughen.reports.plots import attack_plot, clean_robust_plot, legend, line_plot

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
