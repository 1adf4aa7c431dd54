"""Print a script that completes commands and options at the TAB key.

usage: toughen completion SHELL

Shells: bash, zsh, tcsh, fish, powershell. Options of a class are those of the
default; the names are those of the day: print it again after an upgrade.

examples:
  toughen completion bash > ~/.local/share/bash-completion/completions/toughen
  toughen completion zsh > ~/.zfunc/_toughen
"""

import argparse
import importlib
from importlib.util import find_spec

from toughen import catalog
from toughen.cli.console import say
from toughen.errors import InputError, did_you_mean

OTHERS = ("--config", "--print_config", "--help")


def run(arguments: list[str]) -> int:
    """Print the script, or the help."""
    if not arguments or {"-h", "--help"} & set(arguments):
        say((__doc__ or "").rstrip())
        return 0
    say(script(" ".join(arguments)))
    return 0


def script(shell: str) -> str:
    """The script for one shell.

    Raises:
        InputError: no such shell, or shtab is not installed.
    """
    if find_spec("shtab") is None:
        raise InputError("completion needs its package: pip install 'toughen[completion]'")
    import shtab

    from toughen.cli import COMMANDS, summary
    from toughen.cli.list import KINDS
    from toughen.settings.build import walk
    from toughen.settings.signature import choices

    if shell not in shtab.SUPPORTED_SHELLS:
        raise InputError(f"completion: unknown shell {shell!r}; {did_you_mean(shell, shtab.SUPPORTED_SHELLS)}")
    root = argparse.ArgumentParser("toughen")
    commands = root.add_subparsers()
    for name in COMMANDS:
        command = commands.add_parser(name, help=summary(name), add_help=False)
        module = importlib.import_module(f"toughen.cli.{name.replace('-', '_')}")
        if not hasattr(module, "parser"):
            command.add_argument("words", choices=KINDS if name == "list" else shtab.SUPPORTED_SHELLS, nargs="*")
            continue
        for option in ("--config", "--print_config", "--help"):
            command.add_argument(option)
        for path, setting in walk(module.parser().settings, [], deep=True):
            base = setting.base or (setting.item and setting.item.base)
            kind = catalog.kind_of(base) if base else None
            known = list(catalog.classes(kind)) if kind else choices(setting.hint)
            text = setting.help.replace("%", "%%")
            command.add_argument(f"--{'.'.join(path)}", choices=known or None, help=text)
    return shtab.complete(root, shell=shell)
