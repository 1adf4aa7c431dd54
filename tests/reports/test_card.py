"""The model card: what the hub reads, the figures as the result has them, and what a reader must be warned of."""

import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from run_files import write_evaluation, write_training

import toughen
from toughen.errors import InputError, RunError
from toughen.reports.card import model_card
from toughen.run import RunFolder


def run_of(place: Path, **changes: Any) -> RunFolder:
    folder = RunFolder(place / "run")
    folder.create()
    write_training(folder, 3, "TRADES")
    write_evaluation(folder, n=40, seed=0, strength=1.0, **changes)
    return folder


def test_the_hub_reads_the_figures(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    text = model_card(folder, "me/digits", "apache-2.0")
    data, result = ModelCard(text).data, folder.read_result()
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "toughen", "image-classification")
    figures = [result["figures"]["clean"], result["robust_accuracy"]]
    for found, figure in zip(data.eval_results, figures, strict=True):
        assert found.metric_value == round(figure["accuracy"], 4)
        assert found.metric_args == {"interval": [round(each, 4) for each in figure["interval"]], "n": 40}
        low, high = (f"{100 * each:.1f}" for each in figure["interval"])
        assert f"{low} to {high} | {figure['held']}/40 |" in text
    assert 'toughen.load("hf:me/digits")' in text
    assert "linf 0.1" in text
    assert "| method.beta | 6.0 |" in text


def test_doubts_stand_beside_the_figures(tmp_path: Path) -> None:
    doubt = {"name": "false_gradients", "severity": "doubt", "message": "the gradient is another function's"}
    text = model_card(run_of(tmp_path, preflight=[doubt], warnings=["only few images"]))
    figures = text.partition("## Figures")[2].partition("\n## ")[0]
    assert "**Gradient masking suspected**" in figures
    assert "the gradient is another function's" in figures
    assert "- only few images" in figures


def test_a_run_that_was_not_evaluated_claims_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    write_training(folder, 3, "TRADES")
    text = model_card(folder)
    assert ModelCard(text).data.eval_results is None
    assert "It has not been evaluated" in text
    assert re.search(r"\d %", text) is None
    with pytest.raises(RunError, match="no run folder"):
        model_card(RunFolder(tmp_path / "none"))


def test_names_stay_text(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    folder.write_classes([f"a|b <b>{number}</b> [x](y)" for number in range(60)])
    text = model_card(folder)
    assert r"a\|b \<b\>0\</b\> \[x\](y)" in text
    assert "and 10 more" in text


def test_a_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    folder, out = run_of(tmp_path), tmp_path / "README.md"
    out.write_text("mine")
    with pytest.raises(InputError, match="exists; replace it"):
        toughen.card(str(folder.path), out=str(out))
    assert out.read_text() == "mine"
    assert out.read_text() != toughen.card(str(folder.path), out=str(out), overwrite=True) == out.read_text()
