"""Help texts, from signatures and docstrings."""

import inspect
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from toughen import catalog
from toughen.cli.asked import Asked
from toughen.cli.choice import Layers, choose
from toughen.cli.rows import rows, table
from toughen.cli.settings import REQUIRED, Setting, settings_of
from toughen.errors import InputError

COMMON = [
    ("--config FILE", "settings from a YAML file, or from a recipe by its name; options override them, and a later "
     "file an earlier one."),
    ("--print_config", "print the complete configuration as YAML for --config, and do nothing else."),
    ("-h, --help", "print this text."),
]  # fmt: skip
SECTIONS = re.compile(r"\n(Args|Attributes|Raises|Returns):|\n>>> ")
"""Where the description in a docstring ends."""


def page(
    command: str,
    function: Callable[..., Any],
    settings: Mapping[str, Setting],
    positional: str,
    groups: Mapping[str, Iterable[str]],
    examples: str,
) -> str:
    """The text of `toughen COMMAND --help`; settings that are in no group come last."""
    width = _width()
    grouped = {name for names in groups.values() for name in names} | {positional}
    rest = [name for name in settings if name not in grouped]
    place = positional.upper()
    if positional and settings[positional].default is not REQUIRED:
        place = f"[{place}]"
    parts = [f"usage: toughen {' '.join([command, place]).strip()} [OPTIONS]"]
    parts.append(textwrap.fill((inspect.getdoc(function) or "").partition("\n")[0], width))
    if positional:
        parts.append(table([(positional.upper(), settings[positional].help)], width))
    for title, names in {**groups, "other options" if groups else "options": rest}.items():
        names = [name for name in names if name != positional]
        if names:
            parts.append(f"{title}:\n{table(rows([settings[name] for name in names]), width)}")
    parts.append(f"configuration:\n{table(COMMON, width)}")
    parts.append(textwrap.fill(_reading(settings.values()), width, break_on_hyphens=False))
    return "\n\n".join([*parts, examples.rstrip()])


def class_help(settings: Mapping[str, Setting], layers: Layers, path: str, name: str | None) -> str:
    """What `--method.help TRADES` says: the class's description, its settings, and the other names.

    Without a name it is the class that was asked for otherwise, or the default.

    Raises:
        InputError: `path` is no setting that takes a class, or `name` is no such class.
    """
    setting, asked = _find(settings, layers, path)
    is_list = setting.item is not None
    setting, asked = (setting.item, []) if setting.item is not None else (setting, asked)
    width, option = _width(), f"--{path}.help"
    kind = catalog.kind_of(setting.base) if setting.base else None
    others = catalog.classes(kind) if kind else {}
    if name is None and setting.default is None and not asked and others:
        return f"{option} NAME:\n{table([(entry.name, entry.summary) for entry in others.values()], width)}"
    choice = choose(setting, [Asked(option, name, is_text=True)] if name else asked, path)
    if choice.called is None:
        return f"{path} is null"
    parts = [f"--{path} {getattr(choice.called, '__name__', choice.called)}"]
    parts += _paragraphs(choice.called, width)
    prefix = f"{path}.{parts[0].rpartition(' ')[2]}." if is_list else f"{path}."
    own = rows(settings_of(choice.called).values(), prefix, deep=True, of=choice.template)
    parts.append(f"settings:\n{table(own, width)}" if own else "It has no settings.")
    if len(others) > 1:
        parts.append(textwrap.fill(f"All names: {', '.join(others)}", width))
    return "\n\n".join(parts)


def _reading(settings: Iterable[Setting]) -> str:
    """How to read the help, below it."""
    classes = [f"--{each.name}" for each in settings if each.item or (each.base and not each.is_only)]
    if not classes:
        return "[x] is the default."
    return (
        f"[x] is the default. What {', '.join(classes)} name has settings of its own, and {classes[0]}.help NAME lists "
        "them. `toughen list` says the names, which ignore case and underscores; a class of your own is named by its "
        "import path."
    )


def _paragraphs(called: Callable[..., Any], width: int) -> list[str]:
    """The description in the docstring, wrapped; what is indented stays as it is."""
    text = SECTIONS.split(inspect.getdoc(called) or "")[0].strip()
    return [
        part if re.search("^ ", part, re.MULTILINE) else textwrap.fill(part, width, break_on_hyphens=False)
        for part in text.split("\n\n")
    ]


def _width() -> int:
    return min(max(shutil.get_terminal_size().columns, 60), 100)


def _find(settings: Mapping[str, Setting], layers: Layers, path: str) -> tuple[Setting, list[Asked]]:
    """The setting at a dotted path through the chosen classes, and what is asked of it."""
    outer, _, last = path.rpartition(".")
    if outer:
        setting, asked = _find(settings, layers, outer)
        choice = choose(setting, asked, outer)
        settings, layers = settings_of(choice.called) if choice.called else {}, choice.layers
    if last not in settings or (settings[last].base is None and settings[last].item is None):
        raise InputError(f"--{path}.help: expected a setting that takes a class, such as --method.help, got {path!r}")
    return settings[last], list(layers.get(last, []))
