"""What a run's config.yaml describes, read by the types of the settings, as `--config` files are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toughen.errors import InputError, RunError, ToughenError, did_you_mean
from toughen.settings.build import build
from toughen.settings.given import Given
from toughen.settings.signature import REQUIRED, Setting
from toughen.settings.size import check_size


def stored_settings(config: Mapping[Any, Any], known: Mapping[str, Setting], file: Path) -> dict[str, Any]:
    """The values of a configuration's settings.

    Args:
        config: what the file says.
        known: the settings that it may have; those that it lacks are left out, as older versions wrote fewer.
        file: for messages.

    Raises:
        RunError: a setting that is unknown.
        InputError: a value of another type, or a class that neither this package and its libraries have nor the user
            trusts.
    """
    values = {}
    for name, value in config.items():
        if name not in known:
            raise RunError(f"{file}: unknown setting {name!r}; {did_you_mean(str(name), known)}")
        values[name] = build(known[name], [_described(name, value, file)], (name,))
    return values


def stored_object(config: Mapping[Any, Any], name: str, kind: Any, file: Path, weights: Path | None = None) -> Any:
    """The object that a configuration describes under one name; of `Callable[..., Kind]` what it makes.

    Args:
        config: what the file says.
        name: of the setting.
        kind: its type.
        file: for messages.
        weights: the file with the weights of a network that is described.

    Raises:
        RunError: it describes none.
        InputError: as `stored_settings`; or it cannot be built.
    """
    described, setting = config.get(name), Setting(name, kind, REQUIRED)
    if not isinstance(described, dict) or not (setting.is_only or "class_path" in described):
        raise RunError(f"{file}: expected `{name}:` with class_path and init_args, got {described!r:.200}")
    found = build(setting, [_described(name, described, file)], (name,))
    if not setting.is_factory:
        return found
    try:
        check_size(found.func, found.keywords, weights)
        return found()
    except ToughenError:
        raise
    except Exception as error:  # whatever its constructor says to what a file may hold
        called = described["class_path"]
        raise InputError(f"{file}: {name}: {called} cannot be built with {found.keywords}: {error}") from error


def _described(name: Any, value: Any, file: Path) -> Given:
    return Given((str(name),), f"{file}: {name}", value, file=str(file))
