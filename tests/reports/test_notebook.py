"""A notebook sees a bar and short representations."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbclient import NotebookClient

from toughen.data import Arrays, Digits, ImageFolder, Loader
from toughen.evaluation.progress import Step
from toughen.methods import TRADES
from toughen.models import SmallCNN
from toughen.models.load import LoadedClassifier
from toughen.reports.comparison import compare_runs
from toughen.reports.notebook import NotebookEvaluation, NotebookTraining, in_notebook, usual_observer
from toughen.threat import ThreatModel
from toughen.training import Silent

CELL = """
import functools, toughen
from toughen.models import SmallCNN
toughen.train(model=functools.partial(SmallCNN, width=4), epochs=2, train_images=200, test_images=10, budget="quick",
              trackers=[], workers=0, out="run")
"""


def test_a_bar_is_one_output_that_is_drawn_again() -> None:
    InteractiveShell.instance()
    assert not in_notebook()
    assert isinstance(usual_observer(), Silent)
    with capture_output() as shown:
        training = NotebookTraining()
        training.started(2, 10, 0)
        for step in range(1, 11):
            training.stepped(step)
        training.epoch_ended({"epoch": 1.0, "val_clean": 0.9, "val_pgd": 0.4})
        training.finished()
        NotebookEvaluation()(Step(10, 10, "", 0.0))
    texts = [each.data["text/html"] for each in shown.outputs]
    assert '<progress value="0" max="20">' in texts[0]
    assert '<progress value="10" max="20">' in texts[-2] and "epoch 1/2: clean 90.0%, PGD-10 40.0%" in texts[-2]
    assert '<progress value="10" max="10">' in texts[-1] and "evaluated" in texts[-1]
    assert len(texts) < 6  # not one for each step


def test_a_comparison_says_itself_in_a_line(make_run: Any) -> None:
    found = compare_runs([make_run("a<b>"), make_run("weak", strength=0.5)])
    assert len(repr(found)) < 200 and "a<b> " in repr(found)
    assert "a&lt;b&gt;" in found._repr_html_()


def test_what_a_cell_may_end_with_is_a_line() -> None:
    images = Digits().load("test")
    facts = {"figures": {"clean": {"accuracy": 0.9}}, "robust_accuracy": {"accuracy": 0.456}}
    loaded = LoadedClassifier(SmallCNN(10, 1), images.classes, images.shape, ThreatModel("linf", 0.1), facts)
    said = {
        "TRADES(beta=2.0)": TRADES(beta=2.0),
        "ImageFolder(path='photos', size=64)": ImageFolder(Path("photos"), size=64),
        "Arrays()": Arrays(torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 0, 1])),
        "ImageSet(digits: 360 images of 10 classes)": images,
        "Batch(16 images of 1 x 8 x 8)": next(iter(Loader(images, None, 16, device="cpu"))),
        "LoadedClassifier(SmallCNN, 10 classes, linf 0.1, clean 90.0%, robust 45.6%)": loaded,
    }
    assert {text: repr(each) for text, each in said.items()} == {text: text for text in said}


@pytest.mark.nightly
def test_a_kernel_shows_both_bars(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    shown = [each["data"]["text/html"] for each in notebook.cells[0].outputs if "data" in each]
    bars = [each for each in shown if "<progress" in each]
    assert len(bars) == 2
    assert "epoch 2/2" in bars[0] and "evaluated" in bars[1]
    assert "clean accuracy" in shown[-1]
