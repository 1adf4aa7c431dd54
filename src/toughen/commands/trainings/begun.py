"""A run that goes on is the run that was begun: its settings and its data are compared."""

import json
import warnings
from collections.abc import Mapping
from typing import Any

from toughen.commands.trainings.settings import extended, renamed, restore
from toughen.errors import InputError, RunError, ToughenWarning
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.settings.signature import Setting
from toughen.training.checkpoint import begun_with

MAY_CHANGE = (
    *("device", "workers", "trackers", "log_every", "checkpoint_every"),
    *("budget", "before", "test_images", "sample"),
)
"""Settings that decide nothing of the weights, and `epochs` where a run may be extended."""

MOST = 12
"""Settings that one warning names."""


def unchanged(
    folder: RunFolder, known: Mapping[str, Setting], defaults: Mapping[str, Any], but: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The settings of a run that is to go on.

    What config.yaml does not say has its default, as a setting has that came after the version that began the run; a
    warning names those.

    Args:
        folder: the run's.
        known: the settings that it may have.
        defaults: of all of them.
        but: those that are given anew and not read, such as a network in hand.

    Raises:
        RunError: config.yaml is missing or damaged, or says something else than what the run was begun with.
        InputError: a value is of another type; it has more epochs, and the run cannot be extended.
    """

    def complete(config: Mapping[str, Any]) -> dict[str, Any]:
        described = {name: value for name, value in config.items() if name not in but}
        return {**defaults, **restore(described, known, folder.config)}

    folder.check_own_files()
    config = renamed(folder.read_config())
    settings = complete(config)
    whole = _whole(config, settings)
    begun = begun_with(folder.checkpoint).get("config")
    begun = None if begun is None else renamed(begun)
    may_change = (*MAY_CHANGE, "epochs") if "epochs" in config else MAY_CHANGE
    # There is none by an older version, or where the run did not come to a first checkpoint.
    changed = [] if begun is None else _differing(_whole(begun, complete(begun)), whole, may_change)
    if changed:
        raise RunError(
            f"{folder.config} is not what the run was begun with:\n{_lines(changed)}\nTake that back, or train another "
            f"run with it: toughen train --config {folder.config} --out ANOTHER. What may change: "
            f"{', '.join(MAY_CHANGE)}, and epochs where the schedule allows it"
        )
    if begun is not None and begun.get("epochs") != config.get("epochs"):
        extended(complete(begun), settings["epochs"], str(folder.path))
    # A network that was given as a class never said its defaults.
    silent = [
        f"{name} ({default})"
        for name, default in whole.items()
        if name not in {*_flat(config)} and default != "{}" and not name.startswith("model.init_args.")
    ]
    if silent:
        more = f" and {len(silent) - MOST:,} more" if len(silent) > MOST else ""
        warnings.warn(
            f"{folder.config} does not have {', '.join(silent[:MOST])}{more}: the version that began the run had no "
            "such setting; it goes on with this one's default",
            ToughenWarning,
            stacklevel=2,
        )
    return settings


def check_asked(asked: Mapping[str, Any], folder: RunFolder, settings: Mapping[str, Any]) -> None:
    """Raise unless a run was begun with what is asked for now.

    Args:
        asked: as it would stand in config.yaml.
        folder: the run's.
        settings: the run's, by name, complete.

    Raises:
        InputError: with the differences.
    """
    left = () if asked["precision"] != "auto" else ("precision",)
    config, now = renamed(folder.read_config()), _flat(asked)
    # What neither says has its default in both, such as the width of a network that was given as a class.
    said = {*_flat(config), *now}
    whole = {name: value for name, value in _whole(config, settings).items() if name in said}
    changed = _differing(whole, now, (*MAY_CHANGE, "epochs", *left))
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
    # Facts that this version has added say nothing of the images of before.
    changed = [] if begun is None else changes_in(begun, {name: data[name] for name in data if name in begun})
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
    return _differing(_flat(begun), _flat(now), but)


def _whole(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, str]:
    """What a configuration says by path, and what the settings that it gives have where it says nothing."""
    return _flat(_over(describe(dict(settings)), config))


def _over(below: Any, above: Any) -> Any:
    """Nested settings, with those of `below` where `above` has none."""
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    return {**below, **{name: _over(below.get(name), value) for name, value in above.items()}}


def _differing(before: Mapping[str, str], after: Mapping[str, str], but: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [
        (name, before.get(name, "not there"), after.get(name, "not there"))
        for name in {**before, **after}
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
