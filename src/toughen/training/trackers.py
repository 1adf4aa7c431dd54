"""Trackers: what they are told of a run beside the figures of its epochs, which Accelerate passes on."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypedDict
from uuid import uuid4

import yaml
from accelerate import Accelerator

from toughen.errors import ToughenError
from toughen.extras import library
from toughen.reading.files import read_json
from toughen.reading.schema import UnfitError
from toughen.run import RunFolder
from toughen.run.files import atomic
from toughen.training.log import Row
from toughen.training.stopping import Interrupted

Tracker = Literal["tensorboard", "mlflow", "wandb", "trackio"]


class Ids(TypedDict, total=False):
    """What trackers.json holds: the run's name in each tracker."""

    mlflow: str
    wandb: str
    trackio: str


PROJECT = "toughen"
"""The project, or experiment, that all runs are in."""


def check_trackers(trackers: Sequence[Tracker]) -> None:
    """Raise unless the packages of all trackers are installed.

    Raises:
        ToughenError: naming the first that is not.
    """
    for tracker in trackers:
        if find_spec(tracker) is None:
            raise ToughenError(f"--trackers {tracker} needs its package: pip install 'toughen[{tracker}]'")


def begin_trackers(accelerator: Accelerator, folder: RunFolder) -> None:
    """Begin a run of this folder's name in each tracker, with all settings; or go on with the one that it has there.

    Raises:
        ToughenError: a tracker cannot begin, as where its server is not there.
    """
    if not accelerator.log_with:
        return
    config, kept = folder.read_config(), _ids(folder)
    ids = {"wandb": kept.get("wandb", uuid4().hex[:8]), "mlflow": kept.get("mlflow"), "trackio": folder.name}
    known = {
        "wandb": {"name": folder.name, "dir": str(folder.path), "id": ids["wandb"], "resume": "allow"},
        "mlflow": {"run_name": folder.name, "run_id": ids["mlflow"]},
        "trackio": {"name": ids["trackio"], "resume": "allow" if "trackio" in kept else "never"},
    }
    names = [tracker.value for tracker in accelerator.log_with]
    try:
        accelerator.init_trackers(PROJECT, init_kwargs={name: known[name] for name in names if name in known})
        if not accelerator.is_main_process:
            return
        for tracker in accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.writer.add_text("config.yaml", f"```\n{yaml.safe_dump(config, sort_keys=False)}```")
            elif tracker.name not in kept:
                tracker.store_init_configuration(hyperparameters(config) | {"run": str(folder.path.absolute())})
            if tracker.name == "mlflow":
                ids["mlflow"] = tracker.tracker.info.run_id
    except Exception as error:  # whatever their libraries and servers raise
        raise ToughenError(
            f"--trackers {','.join(names)}: a tracker cannot begin: {' '.join(str(error).split())[:300]}; leave it "
            "out, or see that it can be reached"
        ) from error
    with atomic(_file(folder)) as temporary:
        temporary.write_text(json.dumps({name: ids[name] for name in names if name in ids}))


def track(accelerator: Accelerator, row: Row) -> None:
    """Tell the trackers an epoch's figures, at its step."""
    # A comma, between the names of two terms, is not for MLflow.
    figures = {name.replace(", ", " - "): figure for name, figure in row.items() if name != "step"}
    accelerator.log(figures, step=int(row["step"]))


def end_trackers(accelerator: Accelerator, folder: RunFolder, accuracies: Mapping[str, float], step: int) -> None:
    """Tell the trackers the evaluation's accuracies, as `test/<attack>`, and give them settings, figures and report.

    TensorBoard and trackio take no files: there they lie in the run's folder, which their settings name.
    """
    figures = {f"test/{name}": float(figure) for name, figure in accuracies.items()}
    files = [each for each in (folder.config, folder.result, folder.report) if each.exists()]
    for tracker in accelerator.trackers if figures and accelerator.is_main_process else ():
        if tracker.name == "tensorboard":
            # Makes scalars of the figures too; elsewhere than in the run's own folder it would be a run of its own.
            settings = hyperparameters(folder.read_config())
            tracker.writer.add_hparams(settings, figures, run_name=".", global_step=step)
            continue
        tracker.log(figures, step=step)
        if tracker.name == "mlflow":
            for file in files:
                tracker.log_artifact(str(file))
        elif tracker.name == "wandb":
            artifact = library("wandb", "wandb").Artifact(f"{tracker.tracker.id}-report", type="evaluation")
            for file in files:
                artifact.add_file(str(file))
            tracker.tracker.log_artifact(artifact)


@contextmanager
def ended_if_it_fails(accelerator: Accelerator) -> Iterator[None]:
    """End the run in each tracker where it fails inside: as failed, or as killed where it was stopped or asked to.

    A process that goes on, such as a notebook's, would leave it running for ever, and write the next run into it.
    """
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, (Interrupted, KeyboardInterrupt, SystemExit))
        for tracker in accelerator.trackers if accelerator.is_main_process else ():
            with suppress(Exception):  # of a server that has gone, perhaps: what failed first is to be said
                if tracker.name == "mlflow":
                    library("mlflow", "mlflow").end_run("KILLED" if stopped else "FAILED")
                elif tracker.name == "wandb":
                    tracker.tracker.finish(exit_code=130 if stopped else 1)
                else:
                    tracker.finish()
        raise


def hyperparameters(config: Mapping[str, Any], inside: str = "") -> dict[str, bool | int | float | str]:
    """Settings by their names on the command line; what is not set is left out.

    >>> hyperparameters({"method": {"class_path": "toughen.methods.trades.TRADES", "init_args": {"beta": 6.0}}})
    {'method': 'TRADES', 'method.beta': 6.0}
    """
    found: dict[str, bool | int | float | str] = {}
    for name, value in config.items():
        place = f"{inside}{name}"
        if isinstance(value, Mapping) and "class_path" in value:
            found[place] = str(value["class_path"]).rpartition(".")[2]
            found |= hyperparameters(value.get("init_args") or {}, f"{place}.")
        elif isinstance(value, Mapping):
            found |= hyperparameters(value, f"{place}.")
        elif isinstance(value, bool | int | float | str):
            found[place] = value
        elif value is not None:
            found[place] = str(value)
    return found


def _file(folder: RunFolder) -> Path:
    return folder.path / "trackers.json"


def _ids(folder: RunFolder) -> Ids:
    """What each tracker calls the run, where it was begun before."""
    try:
        return read_json(_file(folder), Ids)
    except (OSError, UnfitError):
        return {}
