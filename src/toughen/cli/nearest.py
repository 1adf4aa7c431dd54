"""The option that was probably meant."""

from collections.abc import Iterator, Mapping

from toughen.cli.asked import Asked
from toughen.cli.choice import Layers, choose
from toughen.cli.settings import Setting, settings_of
from toughen.errors import InputError, did_you_mean

DEPTH = 4
"""How many classes deep options are searched: a class may take another of its own kind."""


def nearest_option(asked: Asked, settings: Mapping[str, Setting], layers: Layers) -> str:
    """The question for the nearest option, also where that belongs to a class; nothing where none is near.

    `--beta` is `--method.beta` where the method has a beta.
    """
    dashes = "--" if asked.place.startswith("--") else ""
    name = asked.place.removeprefix("--").rpartition(": ")[2]
    within = [path for path in _paths(settings, layers) if path.endswith(f".{name}")]
    near = did_you_mean(name, settings).partition("'")[2].partition("'")[0]
    if within or near:
        return f"did you mean {dashes}{min(within, key=len) if within else near}?"
    return ""


def _paths(settings: Mapping[str, Setting], layers: Layers, prefix: str = "") -> Iterator[str]:
    """The names of all options, with those of the classes that are chosen."""
    for name, setting in settings.items():
        yield f"{prefix}{name}"
        if setting.base is None or prefix.count(".") >= DEPTH:
            continue
        try:
            choice = choose(setting, layers.get(name, []), f"{prefix}{name}")
        except InputError:
            continue
        if choice.called is not None:
            yield from _paths(settings_of(choice.called), choice.layers, f"{prefix}{name}.")
