"""Exit statuses, where output goes, and how soon it comes."""

import resource
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from toughen import __version__, cli
from toughen.cli import COMMANDS, overview
from toughen.commands.compare import compare
from toughen.errors import RunError

Toughen = Callable[..., Any]


def test_overview_names_every_command(toughen: Toughen) -> None:
    for arguments in ((), ("--help",), ("-h",), ("help",)):
        answer = toughen(*arguments)
        assert answer == (0, f"{overview()}\n", "")
    assert max(map(len, overview().splitlines())) <= 80
    folder = Path(cli.__file__).parent
    for command in COMMANDS:
        file = folder / f"{command.replace('-', '_')}.py"
        summary = file.read_text().partition("\n")[0].strip('"')
        assert f"  {command:11}{summary}\n" in overview()


def test_version(toughen: Toughen) -> None:
    for argument in ("--version", "-V"):
        assert toughen(argument) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RunError("no such run"), 2, "toughen: no such run\n"),
        (KeyboardInterrupt(), 130, "toughen: stopped\n"),
    ],
)
def test_status_of_an_error(
    toughen: Toughen, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, message: str
) -> None:
    @wraps(compare)
    def fail(*arguments: object, **settings: object) -> None:
        raise error

    monkeypatch.setattr("toughen.commands.compare.compare", fail)
    assert toughen("compare", "a") == (status, "", message)


def test_a_mistake_of_ours_keeps_its_traceback(toughen: Toughen, monkeypatch: pytest.MonkeyPatch) -> None:
    @wraps(compare)
    def fail(*arguments: object, **settings: object) -> float:
        return 1 / 0

    monkeypatch.setattr("toughen.commands.compare.compare", fail)
    with pytest.raises(ZeroDivisionError):
        toughen("compare", "a")


def test_our_warnings_are_said_in_one_line(process: Callable[..., Any]) -> None:
    script = (
        "import warnings; from toughen import cli; from toughen.cli import list; from toughen.errors import *\n"
        "list.run = lambda words: warnings.warn('outputs sum to one', ToughenWarning) or warnings.warn('other') or 0\n"
        "usual = warnings.formatwarning; cli.main(['list']); assert warnings.formatwarning is usual"
    )
    started = process("-c", script)
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out) == (0, "")
    assert err.splitlines()[0] == "toughen: warning: outputs sum to one"
    assert err.splitlines()[1].endswith("UserWarning: other")


def test_the_import_path_is_left_as_it_was(toughen: Toughen) -> None:
    before = list(sys.path)
    toughen("list")
    assert sys.path == before


@pytest.mark.parametrize(
    "code", ["import toughen; dir(toughen)", "toughen --help", "toughen list", "toughen --version", "toughen list x"]
)
def test_answers_without_importing_torch(process: Callable[..., Any], code: str) -> None:
    if code.startswith("toughen"):
        code = f"from toughen.cli import main; main({code.split()[1:]})"
    heavy = ("torch", "torchvision", "numpy", "rich", "accelerate", "jsonargparse", "matplotlib")
    script = f"{code}\nimport sys; print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = process("-c", script)
    _, err = started.communicate(timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert err.splitlines()[-1] == "[]"
    # Of computing, whatever else the machine does.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.6


def test_module_is_the_command(process: Callable[..., Any]) -> None:
    started = process("-m", "toughen", "list", "data")
    out, err = started.communicate(timeout=60)
    assert (started.returncode, err) == (0, "")
    assert out.startswith("data\n  Arrays ")
    failed = process("-m", "toughen", "lst")
    out, err = failed.communicate(timeout=60)
    assert (failed.returncode, out) == (2, "")
    assert err.startswith("toughen: unknown command 'lst'; did you mean 'list'?")


def test_a_reader_that_has_gone_hears_nothing(process: Callable[..., Any]) -> None:
    """As `toughen list | head -0`: the pipe is closed before anything is written."""
    tables = (
        "import sys; from toughen.cli import list, main; from toughen.cli.terminal import Terminal\n"
        "list.run = lambda words: Terminal().print('figures') or 0\n"
        "sys.exit(main(['list']))"
    )
    for arguments in (("-m", "toughen", "list"), ("-m", "toughen", "--help"), ("-c", tables)):
        started = process(*arguments)
        started.stdout.close()
        started.wait(timeout=60)
        assert (started.returncode, started.stderr.read()) == (141, "")
