"""Names made to mislead: wherever they are shown they are text, on one line, in the order in which it was written."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from readers import make_folder, make_run, undrawn

from toughen.cli import main
from toughen.data import ImageFolder
from toughen.errors import DataError, RunError
from toughen.models.load import load
from toughen.reports.card import model_card
from toughen.reports.page import write_report
from toughen.run import RunFolder

HOSTILE = "x\n# mine\n\x1b[2J\u202eevil\u2028<b>[red]`|\r![a](http://b)"
OBEYED = "\x1b\u202e\u2028\r"


def poisoned(value: Any, names: tuple[str, ...]) -> Any:
    """Plain data with these texts, wherever they are a value or a name, made hostile."""
    if isinstance(value, dict):
        return {HOSTILE if name in names else name: poisoned(item, names) for name, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, names) for item in value]
    return HOSTILE if value in names else value


def test_pages_and_cards_show_a_strangers_names_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undrawn(monkeypatch)
    make_run(tmp_path)
    folder = RunFolder(tmp_path / "run")
    result = json.loads(folder.result.read_text())
    result = {**result, "warnings": [HOSTILE], "budget": HOSTILE, "analyses": {}}
    result["data"] = {**result["data"], "name": HOSTILE, "split": HOSTILE}
    result["per_class"] = poisoned(result["per_class"], ("0", "1"))
    result["versions"] = {**result["versions"], "device": HOSTILE}
    config = folder.read_config()
    config["data"]["class_path"] = config["model"]["class_path"] = f"a.{HOSTILE}"
    folder.write_config(config)
    folder.result.write_text(json.dumps(result))
    shutil.rmtree(tmp_path / "run/evaluations")
    html, card = write_report(folder).read_text(), model_card(folder, "me/net")
    for text in (html, card):
        assert not set(OBEYED) & set(text)
        assert text.count("\\u202eevil") > 3
    assert "<b>[red]" not in html and "\n# mine" not in card
    body = card.split("\n---\n", 1)[1]
    assert "<b>" not in body and "![" not in body and "evaluate hf:me/net --data DATA" in body


def test_classes_whose_names_a_terminal_obeys_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path / "images")
    (tmp_path / "images/train/0").rename(tmp_path / "images/train/x\n\x1b[2Jy")
    (tmp_path / "images/test/0").rename(tmp_path / "images/test/x\n\x1b[2Jy")
    with pytest.raises(DataError, match="the name of class .* has a line break"):
        ImageFolder(tmp_path / "images").load("train")
    assert main(["train", "--data", "image_folder", "--data.path", str(tmp_path / "images"), "--out", "o"]) == 2
    assert not set(OBEYED) & set(capsys.readouterr().err)
    make_run(tmp_path)
    (tmp_path / "run/classes.json").write_text(json.dumps([HOSTILE, *map(str, range(1, 10))]))
    (tmp_path / "run/manifest.json").unlink()
    with pytest.raises(RunError, match=r"classes\.json: the name of a class has a line break"):
        load(tmp_path / "run")
