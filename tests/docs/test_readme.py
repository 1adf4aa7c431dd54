"""The Python of the README runs as it stands, but for a training that is cut to seconds."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import toughen
from toughen.methods import TRADES
from toughen.models import SmallCNN

pytestmark = pytest.mark.usefixtures("short_autoattack")

README = (Path(__file__).parents[2] / "README.md").read_text()
SHORT = {"epochs=30": 'epochs=1, test_images=20, budget="quick"'}
DOORS = dict(re.findall(r"\*\*([^*\n]+)\*\*[^`]*```python\n(.*?)```", README, re.DOTALL))


@pytest.fixture
def at_hand() -> dict[str, Any]:
    """What a reader of the README has: a network, images with labels, a loader, an optimiser."""
    model = SmallCNN(10, 1, width=8)
    images, labels = toughen.data.Digits().load("test").subset(torch.arange(32))
    return {
        "toughen": toughen,
        "TRADES": TRADES,
        "model": model,
        "other": SmallCNN(10, 1, width=4),
        "images": images,
        "labels": labels,
        "loader": [(images, labels)],
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
    }


def test_every_python_block_is_a_door() -> None:
    assert len(DOORS) == README.count("```python")


@pytest.mark.parametrize("door", DOORS)
def test_a_door_opens(door: str, at_hand: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = f"{DOORS['Train']}\n{DOORS[door]}" if "toughen.load(" in DOORS[door] else DOORS[door]
    for written, run in SHORT.items():
        code = code.replace(written, run)
    exec(code, at_hand)
