import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from toughen.commands.compare import compare
from toughen.evaluation.analyses.transfer_matrix import TransferMatrix
from toughen.reports import show_comparison, show_result
from toughen.run import RunFolder

MakeRun = Callable[..., RunFolder]


def console(width: int = 80) -> Console:
    return Console(width=width, file=io.StringIO())


def printed(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def test_result(make_run: MakeRun) -> None:
    result = make_run(warnings=["[red]the model is random[/red]"]).read_result()
    target = console()
    show_result(result, target)
    text = printed(target)
    lines = {line.strip()[:8]: line for line in text.splitlines()}
    for start, figure in [
        ("No attac", result["figures"]["clean"]),
        ("PGD-20  ", result["figures"]["pgd20"]),
        ("AutoAtta", result["figures"]["autoattack"]),
        ("all toge", result["robust_accuracy"]),
    ]:
        low, high = figure["interval"]
        for value in (f"{100 * figure['accuracy']:.1f} %", f"{100 * low:.1f} to {100 * high:.1f}"):
            assert value in lines[start]
        assert f"{figure['held']}/360" in lines[start]
    assert "41 s" in lines["AutoAtta"]
    assert "digits (test), linf 0.1, budget standard" in text
    assert "warning: [red]the model is random[/red]" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_transfer_and_failed_checks(make_run: MakeRun) -> None:
    folders = [make_run("first", studied=True), make_run("second", seed=1, strength=0.5)]
    held = np.ones((2, 2, 50), dtype=bool)
    held[0, 0, :20] = held[1, 1, :10] = False
    held[0, 1, :40] = False
    matrix = TransferMatrix(("first", "second"), np.ones((2, 50), dtype=bool), held, {"attack": "PGD", "steps": 50})
    comparison = replace(compare([str(folder.path) for folder in folders]), transfer=matrix)
    target = console()
    show_comparison(comparison, target)
    text = " ".join(printed(target).split())
    assert "1 first 60.0 20.0" in text
    assert "2 second 100.0 80.0" in text
    assert "no attack 100.0 100.0" in text
    assert "! gradient masking suspected: second is broken more often by images of first than by its own" in text
    assert "! gradient masking suspected: first failed: A larger radius never helps the model" in text
    assert f"{100 * folders[0].read_result()['robust_accuracy']['accuracy']:.1f} % !" in text
    assert "\u2026" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_comparison(make_run: MakeRun, width: int) -> None:
    folders = [
        make_run("[bold]one", strength=0.3),
        make_run("two", seed=1, method="Standard"),
        make_run("three", threat={"norm": "l2", "eps": 0.5}),
    ]
    comparison = compare([str(folder.path) for folder in folders])
    target = console(width)
    show_comparison(comparison, target)
    text = printed(target)
    first, second = (line for line in text.splitlines() if line.strip()[:1] in ("1", "2"))
    assert "two" in first
    assert "Standard" in first
    assert "[bold]one" in second
    robust = folders[0].read_result()["robust_accuracy"]
    low, high = robust["interval"]
    assert f"{100 * robust['accuracy']:.1f} %" in second
    assert f"{100 * low:.1f}-{100 * high:.1f}" in second
    assert "< 0.001" in second
    assert "not comparable: three" in text
    assert "threat: l2 0.5 instead of linf 0.1" in " ".join(text.split())
    assert "\u2026" not in text
    assert all(len(line) <= width for line in text.splitlines())
