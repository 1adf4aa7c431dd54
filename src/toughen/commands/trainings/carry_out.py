"""A training from its request to its report: images, network, trainer, the loop, the evaluation."""

from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from toughen.commands.evaluations.into_folder import evaluate_into
from toughen.commands.images.kept import keep_images
from toughen.commands.images.of_run import images_of_run
from toughen.commands.trainings.assemble import assemble
from toughen.commands.trainings.before import evaluate_start
from toughen.commands.trainings.begun import check_data
from toughen.commands.trainings.network import begin_from, description_of, fresh_model, precision_of
from toughen.commands.trainings.request import RunRequest
from toughen.commands.trainings.settings import with_data_facts
from toughen.commands.trainings.trained import Trained
from toughen.data import ImageSet, Split
from toughen.data.sameness import data_summary
from toughen.data.survey import Survey
from toughen.errors import RunError
from toughen.evaluation import Evaluation, EvaluationSettings, Processes
from toughen.hardware.device import find_device
from toughen.models import load_weights
from toughen.reports.notebook import usual_observer, usual_progress
from toughen.run import RunFolder
from toughen.run.lock import Lock, at_work
from toughen.run.manifest import is_damaged
from toughen.settings.own_files import sources
from toughen.training import Observer, Silent, Trainer, make_accelerator, own_randomness
from toughen.training.checkpoint import checkpoints
from toughen.training.trackers import begin_trackers, end_trackers, ended_if_it_fails


def carry_out(asked: RunRequest) -> Trained:
    """Train, evaluate and write the report.

    Raises:
        ToughenError: see `train`.
    """
    device, folder = find_device(asked.device), asked.folder
    first = Processes.from_environment().first
    if first and not asked.goes_on:
        folder.check_free(asked.given["overwrite"])  # images are looked at for long
    with at_work(folder.path, first) as lock:
        if first:
            folder.clean_up()
        watcher: Observer = asked.given["observer"] or usual_observer()
        found = _images(asked, watcher)
        images = found.sets
        asked = replace(asked, settings=with_data_facts(asked.settings, images["train"]))
        with ExitStack() as begun:
            with own_randomness(asked.settings["seed"]):
                trainer = _trainer(asked, found, device, watcher, lock)
                accelerator = trainer.accelerator
                begun.enter_context(ended_if_it_fails(accelerator))
                trainer.fit()
            # The first process writes the weights that all read now.
            accelerator.wait_for_everyone()
            network = _reported(asked, images["train"], accelerator.device)
            evaluation = _evaluate(asked, network, images.get("test"), accelerator.device)
            accuracies = {} if evaluation is None else {**evaluation.accuracies, "robust": evaluation.robust_accuracy}
            end_trackers(accelerator, folder, accuracies, trainer.place)
        accelerator.end_training()
    return Trained(folder, network, evaluation)


def _images(asked: RunRequest, watcher: Observer) -> Survey:
    """The run's images; those of a run that goes on are the ones that it was begun with."""
    splits: list[Split] = ["train"] if asked.settings["budget"] == "none" else ["train", "test"]
    found = images_of_run(asked.settings["data"], splits, asked.folder if asked.goes_on else None)
    # Before an earlier run is replaced, as it may fail; observers of before there was a `read` have none.
    getattr(watcher, "read", Silent().read)(found.sets)
    return found


def _trainer(asked: RunRequest, found: Survey, device: torch.device, watcher: Observer, lock: Lock | None) -> Trainer:
    """The trainer at the run's place, with the folder made."""
    training_set = found.sets["train"]
    folder, settings, summary = asked.folder, asked.settings, data_summary(training_set)
    if settings["extra"] is not None:
        summary |= settings["extra"].summary()
    if asked.goes_on:
        check_data(folder, summary)
    network = fresh_model(settings["model"], training_set, settings["normalize"])
    resumes = asked.goes_on and bool(checkpoints(folder.checkpoint))
    if asked.goes_on and not resumes and folder.model.exists():
        raise RunError(
            f"{folder.path} has weights but no checkpoint, from which a run goes on; restore {folder.checkpoint}, or "
            "start the run again with --overwrite"
        )
    is_trained = not resumes and begin_from(network, settings, training_set)
    settings["precision"] = precision_of(settings, network, training_set, device)
    asked.check_same_run(training_set)
    config = {} if resumes else description_of(settings, training_set)
    # Of several processes all have looked by now what is there: nothing is written before they have met here.
    accelerator = make_accelerator(settings["precision"], device, settings["trackers"], folder)
    writes = accelerator.is_main_process
    with folder.making(asked.given["overwrite"]) if writes and not asked.goes_on else nullcontext():
        if writes and not resumes:
            if lock is not None:
                lock.renew()  # the folder may be another one than before
            folder.write_config(config)
            folder.write_code(sources(config))
            folder.write_classes(training_set.classes)
            folder.write_shape(training_set.shape)
            keep_images(folder, settings["data"], found)
        accelerator.wait_for_everyone()
        if is_trained and "test" in found.sets and settings["before"] != "none":
            evaluate_start(asked, network, found.sets["test"], accelerator.device)
        trainer = assemble(folder, settings, training_set, network, accelerator, watcher)
        trainer.at.begun = {"config": folder.read_config(), "data": summary}
        if resumes:
            trainer.saving.resume()
        else:
            trainer.updates.check_rates()
        if resumes and writes:
            _extend(folder, settings)
        begin_trackers(accelerator, folder)
    return trainer


def _extend(folder: RunFolder, settings: Mapping[str, Any]) -> None:
    """Write down that a run goes on to more epochs than it had, where it does, and with what was changed by hand."""
    config = folder.read_config()
    if is_damaged(folder.config):  # what may change was changed by hand
        folder.write_config(config)
    folder.warn_of_damage(checkpoints=True)
    if settings["epochs"] != config["epochs"]:
        folder.write_config({**config, "epochs": settings["epochs"]})
        # They are of weights that are going to be replaced.
        for file in (folder.result, folder.verdicts, folder.gallery, folder.report):
            file.unlink(missing_ok=True)


def _reported(asked: RunRequest, training_set: ImageSet, device: torch.device) -> nn.Module:
    """The network with the weights that are reported, in eval mode."""
    network = fresh_model(asked.settings["model"], training_set, asked.settings["normalize"])
    return load_weights(network, asked.folder.model).to(device).eval()


def _evaluate(
    asked: RunRequest, network: nn.Module, test_set: ImageSet | None, device: torch.device
) -> Evaluation | None:
    if test_set is None:
        return None
    settings, progress = asked.settings, asked.given["progress"] or usual_progress()
    with Processes.from_environment() as processes:
        return evaluate_into(
            asked.folder,
            network,
            test_set,
            settings["threat"],
            EvaluationSettings(
                budget=settings["budget"],
                test_images=min(settings["test_images"] or len(test_set), len(test_set)),
                sample=settings["sample"],
                seed=settings["seed"],
                device=str(device),
            ),
            processes=processes,
            progress=progress,
        )
