"""What a call of `train` asks for: a new run, or one that goes on with its own settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from toughen.commands.trainings.begun import MAY_CHANGE, check_asked, same_as_begun, unchanged
from toughen.commands.trainings.settings import check_settings, extended, with_data_facts
from toughen.data import ImageSet
from toughen.errors import InputError
from toughen.run import RunFolder
from toughen.settings.description import default_name, describe
from toughen.settings.own_files import sources
from toughen.settings.signature import Setting


class _Default(int):
    """A default that can be told from the same number given."""


EPOCHS = _Default(30)
"""The epochs of a run where none are given."""


@dataclass(frozen=True)
class RunRequest:
    """What a call of `train` asks for.

    Attributes:
        folder: the run's.
        goes_on: whether the run in the folder is taken up.
        settings: the run's, by name; of one that goes on those in its folder, with what may change of those given.
        given: the arguments of the call, by name.
    """

    folder: RunFolder
    goes_on: bool
    settings: dict[str, Any]
    given: Mapping[str, Any]

    @property
    def device(self) -> str:
        """The name of the device, which may be another one than the run had."""
        return str(self.settings["device"] if self.given["device"] == "auto" else self.given["device"])

    def check_same_run(self, images: ImageSet) -> None:
        """Raise where the run that goes on under `--resume auto` was begun with other settings than those given.

        Raises:
            InputError: with the differences.
        """
        if self.goes_on and self.given["resume"] == "auto":
            asked = with_data_facts({name: self.given[name] for name in self.settings}, images, self.settings["model"])
            described = {name: describe(value) for name, value in asked.items()}
            if isinstance(asked["model"], nn.Module):
                described["model"] = self.folder.read_config()["model"]  # as the run could rebuild it
            check_asked(described, self.folder, self.settings)
            self.folder.check_code(sources(described))


def request_of(given: Mapping[str, Any], defaults: Mapping[str, Any], known: Mapping[str, Setting]) -> RunRequest:
    """What a call asks for, its settings checked.

    Args:
        given: the arguments of the call, by name.
        defaults: the settings of a run, with their defaults.
        known: the settings of the call, by name.

    Raises:
        InputError: a setting is not usable, or not where a run goes on.
        RunError: the folder of the run that is to go on is damaged.
    """
    resume, overwrite = given["resume"], given["overwrite"]
    if resume is None or resume == "auto":
        folder = RunFolder(given["out"] or f"runs/{default_name(given['data'], given['model'], given['method'])}")
    else:
        folder = RunFolder(resume)
    goes_on = resume is not None and (resume != "auto" or folder.config.exists())
    if resume == "auto" and overwrite:
        raise InputError("overwrite begins anew, and resume auto goes on; leave one of the two out")
    if goes_on:
        settings = _settings_of(folder, given, defaults, {name: known[name] for name in defaults})
    else:
        settings = {name: given[name] for name in defaults}
    check_settings(settings)
    return RunRequest(folder, goes_on, settings, given)


def _settings_of(
    folder: RunFolder, given: Mapping[str, Any], defaults: Mapping[str, Any], known: Mapping[str, Setting]
) -> dict[str, Any]:
    """The settings of a run that goes on, with what may change of those given."""
    in_hand = {"model": given["model"]} if isinstance(given["model"], nn.Module) else {}
    settings = {**unchanged(folder, known, defaults, tuple(in_hand)), **in_hand}
    if settings["data"].in_memory and type(given["data"]) is type(settings["data"]):
        settings["data"] = given["data"]
    asked = given["epochs"]
    if given["resume"] == "auto":
        settings |= {name: given[name] for name in MAY_CHANGE}
        asked = settings["epochs"] if asked == settings["epochs"] else int(asked)
    else:
        others = [name for name in defaults if name not in ("epochs", "device") and given[name] != defaults[name]]
        others = [name for name in others if not same_as_begun(given[name], settings[name])]
        if others:
            raise InputError(
                f"resume goes on with the run's own settings, but {', '.join(others)} came with it; leave it out, or "
                "start another run without resume"
            )
    return settings if asked is EPOCHS else extended(settings, asked, str(folder.path))
