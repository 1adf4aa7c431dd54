"""`toughen completion`: what the shell offers at the TAB key."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toughen import catalog

Toughen = Callable[..., Any]
ASK = 'source ./script; COMP_WORDS=({line}); COMP_CWORD={last}; _shtab_toughen; printf "%s\\n" "${{COMPREPLY[@]}}"'


@pytest.fixture(scope="module")
def script() -> str:
    from toughen.cli.completion import script

    return script("bash")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tr"], {"train"}),
        (["train", "--threat."], {"--threat.norm", "--threat.eps"}),
        (["evaluate", "--budget", "q"], {"quick"}),
        (["train", "--data", "CIFAR"], {name for name in catalog.classes("data") if name.startswith("CIFAR")}),
        (["list", "me"], {"methods"}),
        (["compare", "--out"], {"--out"}),
        (["tune-batch", "--up"], {"--up_to"}),
    ],
)
def test_what_bash_offers(script: str, tmp_path: Path, words: list[str], expected: set[str]) -> None:
    (tmp_path / "script").write_text(script)
    ask = ASK.format(line=" ".join(["toughen", *words]), last=len(words))
    answer = subprocess.run(["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(answer.stdout.split()) == expected


def test_what_is_wrong_is_said(toughen: Toughen, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = toughen("completion", "bsh")
    assert answer.status == 2
    assert answer.err.startswith("toughen: completion: unknown shell 'bsh'; did you mean 'bash'? Known: bash, ")
    assert toughen("completion", "--help").out.startswith("Print a script that completes commands")
    monkeypatch.setattr("toughen.cli.completion.find_spec", lambda name: None)
    expected = "toughen: completion needs its package: pip install 'toughen[completion]'\n"
    assert toughen("completion", "bash") == (2, "", expected)
