"""The first notebook runs, and shows what it gives."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "first_steps.ipynb"
SHORT = {
    "epochs=30": "epochs=1",
    'budget="quick"': 'budget="quick", test_images=5, train_images=200',
    "test_images=100": 'test_images=5, budget="quick", checks=False',
}


def figures(notebook: Any) -> dict[str, float]:
    """Every accuracy in per cent that the notebook prints, by what stands before it."""
    texts = [output.text for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output]
    return {
        name.strip(): float(value)
        for name, value in re.findall(r"^(.+?) +([\d.]+)%   95", "".join(texts), re.MULTILINE)
    }


def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    code = "\n".join(cell.source for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code")
    for written, run in SHORT.items():
        assert written in code
        code = code.replace(written, run)
    names: dict[str, Any] = {}
    exec(code, names)
    change = names["shown"]["Standard"][0] - names["images"]
    assert change.abs().max() == pytest.approx(0.1, abs=1e-6)


@pytest.mark.nightly  # minutes
def test_it_shows_what_it_gives(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    shown = figures(notebook)
    NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert len(shown) == 5
    # Another number of threads adds in another order, which moves a figure by some points.
    assert figures(notebook) == pytest.approx(shown, abs=8)
