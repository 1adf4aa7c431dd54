"""The command line. One subcommand a file; this one only chooses between them, and says errors."""

import ast
import importlib
import os
import sys
from pathlib import Path

from toughen._version import __version__
from toughen.errors import InputError, ToughenError, did_you_mean

COMMANDS = ("train", "evaluate", "compare", "list")


def main(arguments: list[str] | None = None) -> int:
    """Run `toughen` with these arguments (default: the process's) and return its exit status.

    0: done; 1: a requirement was not met; 2: something was wrong with what was asked; 130: stopped by Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(overview())
            return 0
        if arguments[0] in ("--version", "-V"):
            print(__version__)
            return 0
        if arguments[0] not in COMMANDS:
            raise InputError(f"unknown command {arguments[0]!r}; {did_you_mean(arguments[0], COMMANDS)}")
        command = importlib.import_module(f"toughen.cli.{arguments[0]}")
        return command.run(arguments[1:])
    except ToughenError as error:
        print(f"toughen: {error}", file=sys.stderr)
        return 130 if type(error).__name__ == "Interrupted" else 2
    except KeyboardInterrupt:
        print("toughen: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is wrong. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def overview() -> str:
    """The text of `toughen --help`, read from the commands' own files so that it needs no import."""
    lines = [
        f"toughen {__version__}: train image classifiers to withstand adversarial examples, and say how far they do.",
        "",
        "usage: toughen COMMAND [OPTIONS]",
        "",
    ]
    for name in COMMANDS:
        source = Path(__file__).with_name(f"{name}.py").read_text()
        lines.append(f"  {name:10}{(ast.get_docstring(ast.parse(source)) or '').partition(chr(10))[0]}")
    return "\n".join([
        *lines,
        "",
        "examples:",
        "  toughen train                                    digits, a small network, TRADES: a minute or so on a CPU",
        "  toughen train --data cifar10 --model resnet18 --method ARR --threat.eps 8/255",
        "  toughen evaluate runs/digits-smallcnn-trades --budget quick --overwrite",
        "  toughen compare runs/*",
        "",
        "`toughen COMMAND --help` explains every option; `toughen list` names methods, models, data and recipes.",
    ])  # fmt: skip
