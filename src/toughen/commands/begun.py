"""A run that goes on is the run that was begun: its settings and its data are compared."""

import json
from collections.abc import Mapping
from typing import Any

from toughen.commands.settings import extended, restore
from toughen.errors import InputError, RunError
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.settings.signature import Setting
from toughen.training.checkpoint import begun_with

MAY_CHANGE = ("device", "workers", "trackers", "log_every", "checkpoint_every", "budget", "test_images", "sample")
"""Settings that decide nothing of the weights, and `epochs` where a run may be extended."""


def unchanged(folder: RunFolder, known: Mapping[str, Setting], but: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings of a run that is to go on.

    Args:
        folder: the run's.
        known: the settings that it may have.
        but: those that are given anew and not read, such as a network in hand.

    Raises:
        RunError: config.yaml is missing or damaged, or says something else than what the run was begun with.
        InputError: a value is of another type; it has more epochs, and the run cannot be extended.
    """
    config = folder.read_config()
    settings = restore({name: value for name, value in config.items() if name not in but}, known, folder.config)
    begun = begun_with(folder.checkpoint).get("config")
    if begun is None:  # by an older version, or it did not come to a first checkpoint
        return settings
    changed = changes_in(begun, config, (*MAY_CHANGE, "epochs"))
    if changed:
        raise RunError(
            f"{folder.config} is not what the run was begun with:\n{_lines(changed)}\nTake that back, or train another "
            f"run with it: toughen train --config {folder.config} --out ANOTHER. What may change: "
            f"{', '.join(MAY_CHANGE)}, and epochs where the schedule allows it"
        )
    if begun.get("epochs") != config.get("epochs"):
        kept = {name: value for name, value in begun.items() if name not in but}
        extended(restore(kept, known, folder.config), settings["epochs"], str(folder.path))
    return settings


def check_asked(asked: Mapping[str, Any], folder: RunFolder) -> None:
    """Raise unless a run was begun with what is asked for now.

    Raises:
        InputError: with the differences.
    """
    left = () if asked["precision"] != "auto" else ("precision",)
    changed = changes_in(folder.read_config(), asked, (*MAY_CHANGE, "epochs", *left))
    if changed:
        raise InputError(
            f"--resume auto: the run in {folder.path} was begun with other settings:\n{_lines(changed)}\nGive those of "
            f"the run, go on with them (--resume {folder.path}), or give another --out"
        )


def check_data(folder: RunFolder, data: Mapping[str, Any]) -> None:
    """Raise where a run was begun with other training images.

    Raises:
        RunError: with the differences.
    """
    begun = begun_with(folder.checkpoint).get("data")
    changed = [] if begun is None else changes_in(begun, data)
    if changed:
        raise RunError(
            f"the training images are not those that the run in {folder.path} was begun with:\n{_lines(changed)}\n"
            "Restore them, or start another run with --out"
        )


def same_as_begun(given: Any, begun: Any) -> bool:
    """Whether a setting is a run's own, as far as it says something: a network that is given without its number of
    classes is the run's, which has it.
    """
    before, now = _flat(describe(begun)), _flat(describe(given))
    return all(before.get(name) == value for name, value in now.items())


def changes_in(begun: Mapping[str, Any], now: Mapping[str, Any], but: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Name, former and present value of what differs, settings within settings by their path.

    >>> changes_in({"a": {"b": 1}, "c": 2}, {"a": {"b": 1.5}, "c": 2})
    [('a.b', '1', '1.5')]
    """
    before, after = _flat(begun), _flat(now)
    return [
        (name, before.get(name, "not there"), after.get(name, "not there"))
        for name in before | after
        if before.get(name) != after.get(name) and name.partition(".")[0] not in but
    ]


def _lines(changed: list[tuple[str, ...]]) -> str:
    return "\n".join(f"  {name}: {before}, now {after}" for name, before, after in changed)


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        rows: dict[str, str] = {}
        for name, item in value.items():
            rows |= _flat(item, f"{prefix}.{name}" if prefix else str(name))
        return rows
    return {prefix: json.dumps(value, default=str)}
