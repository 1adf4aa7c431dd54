"""The tutorials run as they stand: files are written where a block names one, and the commands run in their order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
SAYS = {
    "evaluate-a-model-from-elsewhere": ["after rescaling (values from -1 to 1)", "right without an attack: 9"],
    "harden-a-pretrained-network": ["is new: the weights are for 1000 classes", "of 60 clean", "lite0/classifier.onnx"],
    "gate-a-model-in-ci": ["requirement met", "requirement not met: robust >= 0.99"],
    "write-a-method": ["2 passed", "runs/flat", "McNemar"],
}
"""What a reader sees on the way."""


@pytest.mark.nightly  # a minute each
@pytest.mark.parametrize("name", list(SAYS))
def test_a_tutorial_runs(name: str, tmp_path: Path) -> None:
    page = TUTORIALS / f"{name}.md"
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool, words in (("toughen", "-m toughen"), ("python", "")):
        (tools / tool).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        (tools / tool).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    said = ""
    for language, block in re.findall(r"^```(python|bash)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        named = re.match(r"# (\w+\.py)\n", block)
        if language == "python" and named:
            (tmp_path / named[1]).write_text(block)
        elif language == "bash":
            run = {"cwd": tmp_path, "env": environment, "text": True, "timeout": 900}
            done = subprocess.run(["bash", "-ec", block], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **run)
            said += done.stdout
            assert done.returncode == 0, said
    missing = [text for text in SAYS[name] if text not in said]
    assert not missing, f"{missing} not in\n{said}"
