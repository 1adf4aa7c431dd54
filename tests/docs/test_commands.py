"""The commands and YAML in README and docs are understood: every option has its name, and every value its type."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)```\w*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
RUN_WHOLE = ("evaluate-a-model-from-elsewhere", "write-a-method", "sweep-on-several-machines")
"""Tutorials whose commands name what their own files hold: test_tutorials.py and the like run them."""
MY_PACKAGE = """
from torch import nn
from toughen.methods import Standard

class MyMethod(Standard):
    def __init__(self, strength: float = 1.0) -> None:
        super().__init__()
        self.strength = strength

class Network(nn.Linear):
    def __init__(self, num_classes: int) -> None:
        super().__init__(64, num_classes)
"""


def commands() -> list[str]:
    """All that begin with `toughen` in blocks of code, without those that a workflow or the shell fills in."""
    found = []
    docs = [path for folder in ("docs", "docs/tutorials") for path in sorted((ROOT / folder).glob("*.md"))]
    for page in [ROOT / "README.md", *(path for path in docs if path.stem not in RUN_WHOLE)]:
        text = "\n".join(block for _, block in BLOCK.findall(page.read_text())).replace("\\\n", "")
        found += re.findall(r"^(?:\$| *-(?: run:)?)? *toughen (\w.*)", text, re.MULTILINE)
    return sorted({re.sub(r"\s+#.*", "", line).strip() for line in found if "$" not in line})


@pytest.mark.parametrize("line", commands())
def test_a_command_is_understood(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_package.py").write_text(MY_PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    if ".py:" in line or "--data photos" in line:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "photos").mkdir()
    command, *arguments = shlex.split(line)
    module = importlib.import_module(f"toughen.cli.{command.replace('-', '_')}")
    if command == "list":
        assert module.run(arguments) == 0
    else:
        module.parser().parse(arguments)


def test_the_yaml_of_the_guide_is_understood(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "guide.md").read_text(), re.DOTALL)
    (tmp_path / "my.yaml").write_text(block)
    request = importlib.import_module("toughen.cli.train").parser().parse(["--config", str(tmp_path / "my.yaml")])
    assert request.settings["method"].lam == 3
    assert request.settings["threat"].eps == pytest.approx(8 / 255)
