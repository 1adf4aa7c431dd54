"""How the benchmarks time, compare and report."""

import json
from itertools import count
from pathlib import Path

import pytest

import common
from common import Figure, Timing, alternate, finish, place_of, ratio


@pytest.mark.parametrize(
    ("figure", "line"),
    [
        (Figure("a", 3.0, 3.0), "a  3.00x  >=3x  met"),
        (Figure("a", 2.994, 3.0), "a  2.99x  >=3x  missed"),
        (Figure("b", 0.5, 1.0, at_most=True, unit=" s"), "b  0.50 s  <=1 s  met"),
        (Figure("b", 1.5, 1.0, at_most=True, unit=" s"), "b  1.50 s  <=1 s  missed"),
        (Figure("c", 1.5, None), "c  1.50x  -  -"),
    ],
)
def test_a_line_a_figure(figure: Figure, line: str) -> None:
    assert figure.line() == line


def test_sides_take_turns_and_every_other_round_is_reversed() -> None:
    clock, order = count(1.0), []

    def side(name: str) -> float:
        order.append(name)
        return next(clock)

    timings = alternate({"a": lambda: side("a"), "b": lambda: side("b")}, repetitions=2, warmup=1)
    assert "".join(order) == "ab" + "ab" + "ba"
    assert timings["a"].seconds == [3.0, 6.0] and timings["b"].seconds == [4.0, 5.0]


def test_a_ratio_is_taken_within_rounds() -> None:
    """The second round was three times as slow for both."""
    assert ratio(Timing.of([4.0, 12.0]), Timing.of([2.0, 6.0])) == (2.0, (2.0, 2.0))


def test_results_are_written_beside_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    finish("speed.py", {"batch": 2}, [{"seconds": 1.0}], [Figure("speed", 2.0, 3.0)])
    (path,) = tmp_path.glob("*/speed.json")
    report = json.loads(path.read_text())
    assert report["rows"] == [{"seconds": 1.0}] and report["arguments"] == {"batch": 2}
    assert report["figures"][0]["met"] is False
    assert {"cpu", "cores", "torch", "toughen", "date"} <= report["machine"].keys()
    assert path.parent == place_of(report["machine"])
    assert capsys.readouterr().out == "speed  2.00x  >=3x  missed\n"


@pytest.mark.parametrize(
    ("cpu", "gpu", "folder"),
    [
        ("AMD EPYC, family 25 model 17", None, "amd-epyc-family-25-model-17-2-cores"),
        ("Intel(R) Xeon(R) Processor, family 6 model 207", None, "intel-xeon-family-6-model-207-2-cores"),
        ("AMD EPYC, family 25 model 17", "NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3"),
    ],
)
def test_a_folder_a_machine(cpu: str, gpu: str | None, folder: str) -> None:
    assert place_of({"cpu": cpu, "cores": 2, "gpu": gpu}).name == folder
