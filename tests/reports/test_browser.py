"""The pages in a real browser (headless Chromium), as a desktop and as a phone show them."""

import html
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from studied import study_record
from sweeps import sweep_record

from toughen.analysis import Explained, Insight
from toughen.analysis.black_box import with_transfers
from toughen.analysis.catalog import chosen
from toughen.analysis.together import Explanations, in_common
from toughen.attacks import PGD
from toughen.evaluation.analyses.transfer_matrix import TransferMatrix
from toughen.evaluation.records.evaluations import Evaluations
from toughen.models import SmallCNN
from toughen.reports import write_report
from toughen.reports.analysis_page import write_analysis
from toughen.reports.comparison import compare_runs
from toughen.reports.comparison_page import write_comparison
from toughen.reports.study.page import write_study
from toughen.reports.sweep_page import write_sweep
from toughen.run import RunFolder
from toughen.threat import ThreatModel

pytestmark = pytest.mark.nightly

MakeRun = Callable[..., RunFolder]
Pages = dict[str, Path]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0"),
    "--virtual-time-budget=3000",
)
LIGHT, DARK = "--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"

PROBE = (Path(__file__).parent / "probe.js").read_text()
FRAME = """<!doctype html><title>frame</title>
<style>body{{margin:0}} iframe{{border:0; width:{width}px; height:900px}}</style>
<pre id="said"></pre><iframe src="{page}"></iframe>
<script>addEventListener('message', (event) => {{ said.textContent = event.data }})</script>"""


def browser() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, f"these tests need a browser; none of {', '.join(NAMES)} is installed"
    return found


def browse(page: Path, profile: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [browser(), *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def console_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def probe(page: Path, profile: Path, width: int, scheme: str = LIGHT, media: str = "screen") -> dict[str, Any]:
    """How a page lies in a frame of this width: the browser's own window cannot be as narrow as a phone.

    For the medium print, what the page says of it holds on the screen instead.
    """
    source = page.read_text(encoding="utf-8").replace(
        "default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'"
    )
    if media == "print":
        source = source.replace("@media screen", "@media none").replace("@media print", "@media all")
    copy = page.with_name("probed.html")
    copy.write_text(source.replace("</body>", f"<script>{PROBE}</script></body>"), encoding="utf-8")
    frame = page.with_name("frame.html")
    frame.write_text(FRAME.format(width=width, page=copy.name))
    dom = browse(frame, profile, "--dump-dom", f"--window-size={max(width, 600)},1000", scheme).stdout
    said = re.search(r'<pre id="said">(.+?)</pre>', dom)
    assert said, "the page did not load"
    layout: dict[str, Any] = json.loads(html.unescape(said[1]))
    return layout


@pytest.fixture
def pages(make_run: MakeRun, make_studies: Callable[..., dict[str, Any]]) -> Pages:
    """A report with everything, one of many classes, one of an evaluated model; a comparison and a sweep with
    everything.
    """
    full = make_run("digits-smallcnn-trades", studied=True, warnings=["the model's logits saturate"])
    many = make_run("many-classes", seed=3, strength=0.9, **make_studies(num_classes=200, failed=()))
    bare = make_run("weights", epochs=0, seed=1, strength=0.6)
    other = make_run("eps", seed=2, threat={"norm": "l2", "eps": 0.5})
    many.write_config(many.read_config() | {"seed": 1})
    full.write_config(full.read_config() | {"seed": 0})
    kept = Evaluations(full)
    kept.take_in()
    shown = full.read_result()
    full.write_result({**shown, "budget": "quick", "complete": False})
    kept.take_in()
    kept.choose_headline()
    reports = {
        "full": write_report(full),
        "one": write_report(kept.all()[1][0]),
        "many": write_report(many),
        "evaluated": write_report(bare),
    }
    comparison = compare_runs([full, many, bare, other])
    held = np.random.default_rng(0).random((4, 4, 200)) < 0.5
    names = tuple(run.name for run in comparison.runs)
    matrix = TransferMatrix(names, np.ones((4, 200), dtype=bool), held, {"attack": "PGD", "steps": 50})
    page = write_comparison(replace(comparison, transfer=matrix), full.path.parent / "compare.html")
    trial = make_run("sweep/trials/007", seed=4)
    write_report(trial)
    sweep = write_sweep(sweep_record(trial.path.parent.parent, trial.name))
    study, _ = write_study(study_record(make_run, "study"))
    explained = analysis(full.path.parent / "analysis")
    return {**reports, "comparison": page, "analysis": explained, "sweep": sweep, "study": study}


def analysis(folder: Path) -> Path:
    """Two networks with long names, side by side in all that needs no training."""
    networks = []
    images, labels, threat = torch.rand(60, 1, 8, 8), torch.arange(60) % 3, ThreatModel("linf", 0.1)
    for name in ("a-network-with-a-long-name", "another-network-with-a-longer-name"):
        model = SmallCNN(num_classes=3, in_channels=1, width=4).eval().requires_grad_(False)
        perturbed = PGD(steps=3)(model, images, labels, threat)
        networks.append(Explained(name, model, images, perturbed, labels, ["airplane", "automobile", "bird"], threat))
    explanations = chosen()
    found: dict[str, dict[str, Insight]] = {}
    for name, explanation in explanations.items():
        for network in with_transfers(networks):
            insight = explanation.explain(network)
            if insight is not None:
                found.setdefault(name, {})[network.name] = insight
    return write_analysis(Explanations(found, in_common(networks), 60, "PGD"), explanations, folder)


SECTIONS = {"full": 14, "one": 13, "many": 13, "evaluated": 4, "comparison": 5, "analysis": 9, "sweep": 5, "study": 3}
KINDS = pytest.mark.parametrize("kind", list(SECTIONS))


@KINDS
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_layout(pages: Pages, tmp_path: Path, kind: str, width: int) -> None:
    layout = probe(pages[kind], tmp_path / "profile", width)
    assert layout["width"] == width
    assert layout["content"] <= width
    assert layout["outside"] == []
    assert layout["broken"] == 0
    assert layout["overlapping"] == []
    own = {"comparison": 0, "sweep": 0, "study": 0, "analysis": pages[kind].read_text().count("<img ")}
    assert layout["images"] == own.get(kind, 24)
    assert layout["reachable"] == [True] * SECTIONS[kind]
    assert layout["nowhere"] == []
    assert layout["navigation"] < 60
    assert layout["plot_text"] >= 9


@KINDS
def test_on_paper(pages: Pages, tmp_path: Path, kind: str) -> None:
    """A4 between margins of 1 cm is 718 CSS pixels wide."""
    layout = probe(pages[kind], tmp_path / "profile", 718, DARK, media="print")
    assert layout["content"] <= 718
    assert layout["outside"] == []
    assert layout["hidden"] == []
    assert layout["navigation"] == 0
    assert luminance(layout["background"]) > 0.9
    paper = tmp_path / "paper.pdf"
    browse(pages[kind], tmp_path / "profile", f"--print-to-pdf={paper}")
    assert paper.read_bytes().count(b"/Type /Page\n") > 1


@KINDS
def test_no_console_message_and_nothing_refused(pages: Pages, tmp_path: Path, kind: str) -> None:
    assert console_of(browse(pages[kind], tmp_path / "profile", "--dump-dom")) == []


def test_a_page_that_loads_something_would_be_noticed(pages: Pages, tmp_path: Path) -> None:
    source = pages["full"].read_text()
    pages["full"].write_text(source.replace("</body>", '<img src="https://example.com/a.png"></body>'))
    messages = console_of(browse(pages["full"], tmp_path / "profile", "--dump-dom"))
    assert any("Content Security Policy" in message for message in messages)


def luminance(color: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    dim, bright = sorted((one, other))
    return (bright + 0.05) / (dim + 0.05)


TEXT = 4.5
"""WCAG's AA level for text."""


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
@pytest.mark.parametrize("kind", ["full", "comparison", "sweep", "study"])
def test_contrast_in_both_schemes(pages: Pages, tmp_path: Path, kind: str, scheme: str) -> None:
    layout = probe(pages[kind], tmp_path / "profile", 1280, scheme)
    background = luminance(layout["background"])
    assert (background < 0.1) == (scheme == DARK)
    pairs = [("ink", background), ("tick", background)]
    if kind != "sweep":
        pairs.append(("badge", luminance(layout["badge_paper"])))
    for color, behind in pairs:
        assert contrast(luminance(layout[color]), behind) >= TEXT, color
    for paper, ink in layout["heat"]:
        assert contrast(luminance(ink), luminance(paper)) >= TEXT


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_contrast_of_an_analysis(pages: Pages, tmp_path: Path, scheme: str) -> None:
    layout = probe(pages["analysis"], tmp_path / "profile", 1280, scheme)
    background = luminance(layout["background"])
    assert (background < 0.1) == (scheme == DARK)
    for color in ("ink", "tick"):
        assert contrast(luminance(layout[color]), background) >= TEXT, color


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_something_is_painted(pages: Pages, tmp_path: Path, scheme: str) -> None:
    shot = tmp_path / "shot.png"
    browse(pages["full"], tmp_path / "profile", f"--screenshot={shot}", "--window-size=1200,2600", scheme)
    image = Image.open(io.BytesIO(shot.read_bytes())).convert("RGB")
    assert image.size == (1200, 2600)
    colors = image.getcolors(maxcolors=1 << 24)
    assert colors is not None
    assert len(colors) > 200
    assert max(count for count, _ in colors) < 0.9 * 1200 * 2600
