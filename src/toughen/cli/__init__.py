"""The command line. One subcommand a file; this one only chooses between them, and says errors."""

import ast
import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toughen._version import __version__
from toughen.cli.console import Output, say
from toughen.errors import InputError, ToughenError, ToughenWarning, did_you_mean
from toughen.hardware.lost import lost_process
from toughen.printable import visible
from toughen.settings.names import finding_own_code_in
from toughen.signals import asked_to_stop, interrupt

COMMANDS = (
    "train",
    "tune-batch",
    "evaluate",
    "merge",
    "compare",
    "analyze",
    "sweep",
    "study",
    "export",
    "predict",
    "card",
    "push",
    "list",
    "completion",
)


def main(arguments: list[str] | None = None) -> int:
    """Run `toughen` with these arguments (default: the process's) and return its exit status.

    0: done; 1: a requirement was not met; 2: something was wrong with what was asked; 130: stopped by Ctrl-C or another
    signal that asks for it; 141: done, but the output could not be written, such as when its reader has gone.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    with _surroundings() as out:
        try:
            status = _run(arguments)
        except ToughenError as error:
            say(f"toughen: {error}", error=True)
            status = 2
        except KeyboardInterrupt:
            say("toughen: stopped", error=True)
            status = 130
        except RuntimeError as error:
            said = lost_process(error)
            if said is None:
                raise
            say(f"toughen: {said}", error=True)
            status = 2
        out.flush()
        if out.lost is not None and not isinstance(out.lost, BrokenPipeError):  # head and less go on purpose
            say(f"toughen: cannot write to standard output: {out.lost.strerror}", error=True)
    return status or (141 if out.lost is not None else 0)


def _run(arguments: list[str]) -> int:
    first, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if first == "help" and rest:
        first, rest = rest[0], ["--help"]
    if first in ("-h", "--help", "help"):
        say(overview())
        return 0
    if first in ("-V", "--version"):
        say(__version__)
        return 0
    if first not in COMMANDS:
        what = "option" if first.startswith("-") else "command"
        raise InputError(f"unknown {what} {first!r}; {did_you_mean(first, COMMANDS)}; see toughen --help")
    return importlib.import_module(f"toughen.cli.{first.replace('-', '_')}").run(rest)


def overview() -> str:
    """The text of `toughen --help`, read from the commands' own files so that it needs no import."""
    lines = [
        f"toughen {__version__}: train image classifiers to withstand adversarial examples,",
        "and say how far they do.",
        "",
        "usage: toughen COMMAND [OPTIONS]",
        "",
    ]
    lines += [f"  {name:11}{summary(name)}" for name in COMMANDS]
    return "\n".join([
        *lines,
        "",
        "examples:",
        "  toughen train               digits, a small network, TRADES: a minute on a CPU",
        "  toughen train --data cifar10 --model resnet18 --method ARR --threat.eps 8/255",
        "  toughen evaluate runs/digits-smallcnn-trades --budget quick --overwrite",
        "  toughen compare runs/*",
        "  toughen sweep sweep.yaml",
        "  toughen study cpu-digits",
        "",
        "`toughen COMMAND --help` explains its options; `toughen list` gives the names.",
    ])  # fmt: skip


def summary(command: str) -> str:
    """What a command does: the first line of its file."""
    source = Path(__file__).with_name(f"{command.replace('-', '_')}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


@contextmanager
def _surroundings() -> Iterator[Output]:
    """What holds while a command runs; gives its standard output.

    Our own warnings are said without the line of code that they come from, own classes are found in the working folder,
    signals that ask to stop are as Ctrl-C, and an output that nobody takes ends no work.
    """
    usual, streams = warnings.formatwarning, (sys.stdout, sys.stderr)

    def plain(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> str:
        ours = issubclass(category, ToughenWarning)
        return visible(f"toughen: warning: {message}\n" if ours else usual(message, category, *rest, **more))

    warnings.formatwarning = plain
    out = Output(sys.stdout)
    sys.stdout, sys.stderr = out, Output(sys.stderr)
    try:
        with finding_own_code_in(Path.cwd()), asked_to_stop(interrupt):
            yield out
    finally:
        warnings.formatwarning = usual
        sys.stdout, sys.stderr = streams
