"""Help texts, from signatures and docstrings."""

import inspect
import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, get_origin

from toughen import catalog
from toughen.errors import InputError
from toughen.settings.build import walk
from toughen.settings.choice import choose
from toughen.settings.given import Given, by_name
from toughen.settings.signature import REQUIRED, WORDS, Setting, choices

if TYPE_CHECKING:
    from toughen.cli.parser import Parser

COMMON = [
    ("--config FILE", "settings from a YAML file, or from a recipe by its name; options override them, and a later "
     "file an earlier one."),
    ("--print_config", "print the complete configuration as YAML for --config, and do nothing else."),
    ("-h, --help", "print this text."),
]  # fmt: skip
SECTIONS = re.compile(r"\n(Args|Attributes|Raises|Returns):|\n>>> |\n *\.\. ")
"""Where the description in a docstring ends."""
INDENT = 26
"""Where the explanations begin."""


def page(parser: "Parser") -> str:
    """The text of `toughen COMMAND --help`; settings that are in no group come last."""
    settings, groups, positional = parser.settings, parser.groups, parser.positional
    places = [name.upper() if settings[name].default is REQUIRED else f"[{name.upper()}]" for name in positional]
    places += ["[FILE]"] if parser.takes_file else []
    parts = [
        f"usage: {' '.join(['toughen', parser.name, *places])} [OPTIONS]",
        _filled((inspect.getdoc(parser.function) or "").partition("\n")[0]),
    ]
    if positional:
        parts.append(_table([(name.upper(), settings[name].help) for name in positional]))
    rest = [name for name in settings if all(name not in names for names in groups.values())]
    for title, names in {**groups, "other options" if groups else "options": rest}.items():
        shown = {name: settings[name] for name in names if name not in positional}
        if shown:
            parts.append(f"{title}:\n{_table(_rows(shown))}")
    parts.append(f"configuration:\n{_table(COMMON)}")
    reading = "[x] is the default."
    if classes := [f"--{each.name}" for each in settings.values() if each.item or (each.base and not each.is_only)]:
        reading += (
            f" What {', '.join(classes)} name has settings of its own, and {classes[0]}.help NAME lists them. `toughen "
            "list` says the names, which ignore case and underscores; a class of your own is named by its import path."
        )
    return "\n\n".join([*parts, _filled(reading), parser.examples.rstrip()])


def class_help(settings: Mapping[str, Setting], given: list[Given], path: tuple[str, ...], name: str | None) -> str:
    """What `--method.help TRADES` says: the class's description, its settings, and the other names.

    Without a name it is the class that was asked for otherwise, or the default.

    Raises:
        InputError: `path` is no setting that takes a class, or `name` is no such class.
    """
    option = f"--{'.'.join(path)}"
    for depth, part in enumerate(path, start=1):
        setting, given = settings.get(part), by_name(given, depth - 1).get(part, [])
        if setting is None or (setting.base is None and setting.item is None):
            wanted = "expected a setting that takes a class, such as --method.help"
            raise InputError(f"{option}.help: {wanted}, got {option[2:]!r}")
        if depth < len(path):
            choice = choose(setting, given, path[:depth])
            settings, given = choice.settings, choice.within
    assert setting is not None
    is_list = setting.item is not None
    setting, given = (setting.item, []) if setting.item is not None else (setting, given)
    kind = catalog.kind_of(setting.base) if setting.base else None
    others = catalog.classes(kind) if kind else {}
    if name is None and setting.default is None and not given and others:
        return f"{option}.help NAME:\n{_table([(entry.name, entry.summary) for entry in others.values()])}"
    choice = choose(setting, [Given(path, f"{option}.help", name, is_text=True)] if name else given, path)
    if choice.called is None:
        return f"{option[2:]} is null"
    # What is indented in a docstring stays as it is.
    description = SECTIONS.split(inspect.getdoc(choice.called) or "")[0].strip().split("\n\n")
    parts = [part if re.search("^ ", part, re.MULTILINE) else _filled(part) for part in description]
    rows = _rows(choice.settings, (*path, choice.name) if is_list else path, deep=True)
    parts.append(f"settings:\n{_table(rows)}" if rows else "It has no settings.")
    if len(others) > 1:
        parts.append(_filled(f"All names: {', '.join(others)}"))
    return "\n\n".join([f"{option} {choice.name}", *parts])


def metavar(setting: Setting) -> str:
    """What an option takes, in capitals or {a,b}; nothing for a switch.

    >>> from typing import Literal
    >>> metavar(Setting("batch_size", int | Literal["auto"], 250))
    'INT|auto'
    """
    kinds, named = [get_origin(kind) or kind for kind in setting.kinds], choices(setting.hint)
    words = [WORDS[kind][0] for kind in kinds if kind in WORDS]
    if setting.base is not None:
        return "" if setting.is_only else "NAME"
    if named and not words:
        return f"{{{','.join(named)}}}"
    if {float, str} <= set(kinds):
        return "NUMBER"
    return "" if setting.default is False else "|".join([*(words[:1] or ["VALUE"]), *named])


def _rows(settings: Mapping[str, Setting], path: tuple[str, ...] = (), deep: bool = False) -> list[tuple[str, str]]:
    """Options and explanations; a class that leaves no choice, as the threat model does, has rows for its settings."""
    found = []
    for inner, setting in walk(settings, [], deep, path):
        if not (setting.is_only and setting.default is not None):
            found.append((f"--{'.'.join(inner)} {metavar(setting)}".rstrip(), _explained(setting)))
    return found


def _explained(setting: Setting) -> str:
    default = setting.default
    if default is REQUIRED:
        return f"{setting.help} (needed)".strip()
    if default is None or default is False:
        return setting.help
    shown = "true" if default is True else ",".join(map(str, default)) if isinstance(default, list | tuple) else default
    if setting.base is not None:
        shown = getattr(default, "__name__", type(default).__name__)
    return f"{setting.help} [{shown}]".strip()


def _table(rows: Iterable[tuple[str, str]]) -> str:
    """Options on the left, explanations on the right, wrapped."""
    lines = []
    for option, text in rows:
        wrapped = textwrap.wrap(text, _width() - INDENT, break_on_hyphens=False) or [""]
        lines.append(f"  {option}" if len(option) + 4 > INDENT else f"  {option}".ljust(INDENT) + wrapped.pop(0))
        lines += [" " * INDENT + line for line in wrapped]
    return "\n".join(line.rstrip() for line in lines)


def _filled(text: str) -> str:
    return textwrap.fill(text, _width(), break_on_hyphens=False)


def _width() -> int:
    return min(max(shutil.get_terminal_size().columns, 60), 100)
