"""From what was asked for to objects, and what is wrong with their settings."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from toughen.cli.asked import Asked
from toughen.cli.choice import Choice, choose
from toughen.cli.entries import entries
from toughen.cli.settings import REQUIRED, Setting, settings_of, takes_anything
from toughen.cli.values import read
from toughen.errors import InputError, did_you_mean


def build(setting: Setting, layers: list[Asked], path: str) -> Any:
    """The value of a setting of which something is asked; `path` is its option's name, such as `method.attack`.

    Raises:
        InputError: an unknown class or setting, a value of another type, a missing setting.
    """
    if setting.item is not None:
        return [build(setting.item, [entry], f"{path}.{entry.value}") for entry in entries(layers)]
    if setting.base is None:
        return read(setting, layers[-1])
    choice = choose(setting, layers, path)
    return None if choice.called is None else _construct(choice, path, setting.is_factory)


def _construct(choice: Choice, path: str, is_factory: bool) -> Any:
    called = choice.called
    assert called is not None
    known = settings_of(called)
    values: dict[str, Any] = {}
    for name, layers in choice.layers.items():
        if name not in known and not takes_anything(called):
            raise _unknown(layers[0], called, name)
        setting = known.get(name, Setting(name, Any, None))
        if hasattr(choice.template, name):
            setting = replace(setting, default=getattr(choice.template, name))
        values[name] = build(setting, layers, f"{path}.{name}")
    for name, setting in known.items():
        if name in values:
            continue
        if hasattr(choice.template, name):
            values[name] = getattr(choice.template, name)
        elif setting.default is REQUIRED and name not in (_facts(called) if is_factory else ()):
            text = f" ({setting.help.partition('; ')[0].rstrip('.')})" if setting.help else ""
            raise InputError(f"{choice.place} {_name(called)} needs --{path}.{name}{text}")
    if is_factory:
        return partial(called, **{**_plain_defaults(called), **values})
    try:
        return called(**values)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{choice.place}: {_name(called)} cannot be built with {values}: {error}") from error


def _unknown(asked: Asked, called: Callable[..., Any], name: str) -> InputError:
    """The error for a setting that a class does not have."""
    known = settings_of(called)
    hint = did_you_mean(name, known) if known else "it has none"
    return InputError(f"{asked.place}: unknown setting of {_name(called)}; {hint}")


def _facts(network: Callable[..., Any]) -> set[str]:
    """The settings of a network that the data tells."""
    from toughen.models.build import with_facts

    return set(with_facts(network, 0, 0).keywords)


def _plain_defaults(called: Callable[..., Any]) -> dict[str, Any]:
    """Defaults that a configuration can record, without the data's facts."""
    facts, plain = _facts(called), (bool, int, float, str)
    settings = ((name, setting.default) for name, setting in settings_of(called).items() if name not in facts)
    return {name: default for name, default in settings if default is None or isinstance(default, plain)}


def _name(called: Callable[..., Any]) -> str:
    return getattr(called, "__name__", str(called))
