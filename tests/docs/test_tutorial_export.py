"""The tutorial of exporting and serving: its blocks run as they stand, in processes of their own."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "export-and-serve.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
PROGRAMS = {text.split()[1]: text for kind, text in BLOCKS if kind == "python"}
COMMANDS = [line for kind, text in BLOCKS if not kind for line in text.splitlines()]


def say(place: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=place, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def toughen(place: Path, line: str) -> str:
    return say(place, "-m", "toughen", *shlex.split(line)[1:])


def asked(place: Path, image: str) -> dict[str, str]:
    """What the server says of an image, when it is ready."""
    for _ in range(300):
        try:
            with urlopen("http://127.0.0.1:8765", (place / image).read_bytes()) as answer:
                return json.loads(answer.read())
        except URLError:
            time.sleep(0.2)
    raise TimeoutError


@pytest.mark.nightly
def test_the_tutorial_runs(tmp_path: Path) -> None:
    train, export, predict, card, push = COMMANDS
    toughen(tmp_path, train)
    said = toughen(tmp_path, export)
    assert re.search(r"checked: onnxruntime \S+: .* 100 of 100 clean, 32 of 32 fresh PGD-20 images", said)
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
    say(tmp_path, "image.py")
    hidden = {**os.environ, "PYTHONPATH": ""}
    blocked = "import sys, runpy; sys.modules['toughen'] = sys.modules['torch'] = None; sys.argv.pop(0); "
    command = [sys.executable, "-c", f"{blocked}runpy.run_path(sys.argv[0])", "serve.py", "runs/digits/classifier.onnx"]
    server = subprocess.Popen(command, cwd=tmp_path, env=hidden, stderr=subprocess.DEVNULL)
    try:
        answer = asked(tmp_path, "digit.png")
    finally:
        server.kill()
        server.wait()
    assert toughen(tmp_path, predict).split()[1] == answer["class"]
    toughen(tmp_path, card)
    assert (tmp_path / "README.md").read_text().startswith("---\n")
    assert "nothing was uploaded" in toughen(tmp_path, push)
