"""`toughen tune-batch`: what it takes and what it prints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_the_command_to_use(toughen: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("{method: Standard, batch_size: 40, test_images: 100}")
    words = ["--config", "my.yaml", "--model.width", "4", "--up-to=80", "--device", "cpu", "--augment.flip"]
    answer = toughen("tune-batch", *words)
    assert (answer.status, answer.err) == (0, "")
    header, first, second, conclusion, use = answer.out.splitlines()
    assert header.split() == ["batch", "memory", "images/s"]
    assert first.split()[0] == "40"
    assert second.split()[0] == "80"
    assert conclusion.startswith("80 images a step: largest asked for; it fits (")
    assert "; fastest: " in conclusion
    expected = "toughen train --config my.yaml --model.width 4 --device cpu --augment.flip --batch_size 80"
    assert use == f"use: {expected}"
    assert toughen("train", *expected.split()[2:], "--epochs", "1", "--budget", "none").status == 0


def test_what_a_run_alone_takes_is_refused(toughen: Callable[..., Any]) -> None:
    answer = toughen("tune-batch", "--overwrite")
    assert answer.status == 2
    assert "unknown option --overwrite" in answer.err


def test_help_says_both(toughen: Callable[..., Any]) -> None:
    answer = toughen("tune-batch", "--help")
    assert answer.out.startswith("usage: toughen tune-batch [OPTIONS]")
    assert "--up_to INT" in answer.out
    assert "--method NAME" in answer.out
    assert "--resume" not in answer.out
    assert "tune-batch" in toughen("--help").out
