"""Train a classifier, evaluate it and write its report."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import nn

from toughen.commands.assemble import assemble, begin_from, fresh_model, precision_of
from toughen.commands.begun import MAY_CHANGE, check_asked, check_data, unchanged
from toughen.commands.images import read_images
from toughen.commands.into_folder import evaluate_into
from toughen.commands.settings import check_settings, default_name, extended, with_data_facts
from toughen.contracts import check_arguments
from toughen.data import Augment, CutMix, DataSource, Digits, ExtraImages, ImageSet, Split
from toughen.data.sameness import data_summary
from toughen.errors import InputError
from toughen.evaluation import Budget, Evaluation, EvaluationSettings, Processes, Progress, Sample
from toughen.hardware.device import find_device
from toughen.hardware.precision import Precision
from toughen.methods import Method
from toughen.methods.trades import TRADES
from toughen.models import SmallCNN, load_weights
from toughen.reports.text import bounds, percent
from toughen.run import RunFolder
from toughen.run.lock import at_work
from toughen.settings.description import describe
from toughen.settings.signature import settings_of
from toughen.settings.trust import obeying_trust
from toughen.threat import ThreatModel
from toughen.training import (
    AWP,
    SGD,
    Average,
    GrowingSize,
    GrowingSteps,
    Guards,
    MakeOptimizer,
    Observer,
    OneCycle,
    Schedule,
    Silent,
    Tracker,
    make_accelerator,
    own_randomness,
)
from toughen.training.checkpoint import checkpoints


class _Default(int):
    """A default that can be told from the same number given."""


EPOCHS = _Default(30)


@dataclass(frozen=True)
class Trained:
    """What `train` gives back.

    Attributes:
        folder: the run's folder.
        model: the trained network with the reported weights, in eval mode.
        evaluation: its evaluation on test images; None where the budget was "none".
    """

    folder: RunFolder
    model: nn.Module
    evaluation: Evaluation | None

    def __repr__(self) -> str:
        return f"Trained({', '.join(f'{name}: {value}' for name, value in self._summary().items())})"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in self._summary().items())
        return f"<table>{rows}</table>"

    def _summary(self) -> dict[str, str]:
        summary = {"run": str(self.folder.path)}
        if self.evaluation is not None:
            clean, robust = self.evaluation.result["figures"]["clean"], self.evaluation.result["robust_accuracy"]
            for name, figure in (("clean accuracy", clean), ("robust accuracy", robust)):
                summary[name] = f"{percent(figure['accuracy'])} ({bounds(figure['interval'])})"
            summary["report"] = str(self.folder.report)
        return summary


@obeying_trust
def train(
    data: DataSource = Digits(),
    model: Callable[..., nn.Module] = SmallCNN,
    method: Method = TRADES(),
    threat: ThreatModel | None = None,
    *,
    epochs: int = EPOCHS,
    batch_size: int = 128,
    optimizer: MakeOptimizer = SGD,
    decay_all: bool = True,
    layer_decay: float | None = None,
    schedule: Schedule = OneCycle(),
    average: Average | None = None,
    awp: AWP | None = None,
    clip_grad_norm: float | None = None,
    accumulate: int = 1,
    augment: Augment | None = None,
    label_smoothing: float = 0.0,
    cutmix: CutMix | None = None,
    extra: ExtraImages | None = None,
    train_images: int | None = None,
    val_images: int | None = None,
    attack_steps: GrowingSteps | None = None,
    image_size: GrowingSize | None = None,
    init: str | None = None,
    normalize: bool | str = True,
    select: Literal["best", "last"] = "best",
    precision: Precision = "auto",
    device: str = "auto",
    channels_last: bool = True,
    fast: bool = True,
    compile: bool = False,
    workers: int = 2,
    seed: int = 0,
    checkpoint_every: int | None = None,
    log_every: int = 20,
    guards: Guards | None = Guards(),
    trackers: list[Tracker] = ["tensorboard"],  # noqa: B006 - never changed
    budget: Budget | Literal["none"] = "standard",
    test_images: int | None = 1000,
    sample: Sample = "by_class",
    out: str | None = None,
    overwrite: bool = False,
    resume: str | None = None,
    trust: Sequence[str] = (),
    observer: Observer | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train an image classifier to withstand adversarial examples, evaluate it, and write its report.

    Args:
        data: the images: digits, cifar10, image_folder, parquet, ... or your own class.
        model: the network: small_cnn, resnet18, wide_resnet, timm, ... or your own torch.nn.Module.
        method: how it is trained: TRADES, PGDAT, ARR, Standard, ... or your own class.
        threat: the perturbations to withstand, norm and eps such as 8/255; default: what is customary for the data.
        epochs: passes over the training images; with resume, up to how many the run is extended.
        batch_size: images in a step, of all devices together.
        optimizer: SGD, AdamW or another class of torch.optim; or a function from parameters to an optimiser.
        decay_all: weight decay on biases and normalisation too, as in most published code of this field.
        layer_decay: each layer's learning rate as a share of the next one's, such as 0.75; for networks of timm.
        schedule: learning rate over the run: OneCycle, Cosine, MultiStep or Constant.
        average: average of the weights: EMA or SWA; the averaged network is then the one that is reported.
        awp: adversarial weight perturbation: gamma, and the epoch that it starts with; default none.
        clip_grad_norm: largest norm of the gradient; longer ones are shortened.
        accumulate: batches whose gradients make one update.
        augment: random crop and flip; default: crop by an eighth of the size, flip for colour images.
        label_smoothing: share of every label that is spread over all classes in the supervised terms, 0 to below 1.
        cutmix: cut a box out of another image into every image, before the attack; default none.
        extra: more training images with labels or pseudo-labels, from an .npz file, for a fraction of every batch.
        train_images: train on so many images, drawn with the seed; default all that are not held out.
        val_images: training images held out to choose the checkpoint by; default a tenth, at most 1,000.
        attack_steps: fewer steps of the attack at first, all of them later.
        image_size: smaller images at first, full ones later.
        init: weights to start from, of a network that was trained before: .safetensors, or a .pt, .pth or .ckpt file.
        normalize: true: by the data's mean and deviation, in front of the network; or by numbers
            such as 0.5,0.4,0.4/0.2,0.2,0.2; false or none: it sees [0, 1], as in most papers.
        select: report the checkpoint with the best robust accuracy on held-out images (Standard: clean), or the last.
        precision: fp32, or bf16 for the network's passes; auto takes bf16 where the hardware is faster in it.
        device: auto, cpu, cuda, cuda:1, mps; resume may change it.
        channels_last: hold images and weights in the channels-last layout, which convolutions like.
        fast: false: no replica for the attack, no channels_last, no TF32, auto is fp32.
        compile: run the network by torch.compile; takes minutes at the start.
        workers: processes that decode images where they do not fit in memory.
        seed: the same seed gives the same run on the same device.
        checkpoint_every: save within an epoch too, after so many steps.
        log_every: steps between two checks that loss and weights are finite.
        guards: what watches over the training and rolls back where it goes wrong; null for nothing.
        trackers: where figures go beside metrics.csv: tensorboard, mlflow, wandb.
        budget: attacks of the final evaluation: quick, standard (with AutoAttack) or none.
        test_images: largest number of test images in the final evaluation; null for all.
        sample: which of them: by_class (like the whole set, the same for every seed), first, or random (by the seed).
        out: the run's folder; default runs/<data>-<model>-<method>.
        overwrite: replace an earlier run in that folder.
        resume: go on with the run in this folder, with its own settings, exactly where it stopped; auto: begin the run
            in out, or go on with it where it was begun with these settings, for schedulers that repeat a command.
        trust: what a run's files may name beside this package's classes and its libraries' networks, such as
            my_package.Net or my_package; their code is run.
        observer: somebody who watches the training; the command line passes its progress bar.
        progress: called as an attack of the evaluation starts on a batch.

    Returns:
        Trained: folder, network and evaluation. The method and the network that were passed are not changed.

    Raises:
        ToughenError: a setting, the data or the run folder is not usable; the message says what to do.
    """
    given = locals()
    check_arguments(train, given)
    settings = {name: given[name] for name in DEFAULTS}
    if resume is None or resume == "auto":
        folder = RunFolder(out or f"runs/{default_name(data, model, method)}")
    else:
        folder = RunFolder(resume)
    goes_on = resume is not None and (resume != "auto" or folder.config.exists())
    if resume == "auto" and overwrite:
        raise InputError("overwrite begins anew, and resume auto goes on; leave one of the two out")
    if goes_on:
        settings = _settings_of(folder, given)
    check_settings(settings)
    place = find_device(settings["device"] if device == "auto" else device)
    first = Processes.from_environment().first
    if first and not goes_on:
        folder.check_free(overwrite)  # images are looked at for long
    with at_work(folder.path, first) as lock:
        if first:
            folder.clean_up()
        watcher = observer or Silent()
        splits: list[Split] = ["train"] if settings["budget"] == "none" else ["train", "test"]
        images = read_images(settings["data"], splits, examine=not goes_on)
        kept = folder.read_classes() if goes_on else None
        # Labels keep their meaning in the test set, and when a run goes on.
        names, whose = (images["train"].classes, "the training images") if kept is None else (kept, str(folder.classes))
        images = {split: found.in_order_of(names, whose) for split, found in images.items()}
        # Before an earlier run is replaced, as it may fail; observers of before there was a `read` have none.
        getattr(watcher, "read", Silent().read)(images)
        training_set = images["train"]
        settings = with_data_facts(settings, training_set)
        summary = data_summary(training_set)
        if goes_on:
            check_data(folder, summary)
        with own_randomness(settings["seed"]):
            network = fresh_model(settings["model"], training_set, settings["normalize"])
            resumes = goes_on and bool(checkpoints(folder.checkpoint))
            if settings["init"] is not None and not resumes:
                begin_from(network, Path(settings["init"]), training_set)
            settings["precision"] = precision_of(settings, network, training_set, place)
            if goes_on and resume == "auto":
                asked = with_data_facts({name: given[name] for name in DEFAULTS}, training_set)
                check_asked({name: describe(value) for name, value in asked.items()}, folder)
            # Of several processes all have looked by now what is there: nothing is written before they have met here.
            accelerator = make_accelerator(settings["precision"], place, settings["trackers"], folder)
            parts = (folder, settings, training_set, network, accelerator, watcher)
            writes = accelerator.is_main_process
            with folder.making(overwrite) if writes and not goes_on else nullcontext():
                if writes and not resumes:
                    if lock is not None:
                        lock.renew()  # the folder may be another one than before
                    folder.write_config({name: describe(value) for name, value in settings.items()})
                    folder.write_classes(training_set.classes)
                accelerator.wait_for_everyone()
                trainer = assemble(*parts)
                trainer.begun = {"config": folder.read_config(), "data": summary}
                if not resumes:
                    trainer.updates.check_rates()
                _begin_trackers(accelerator)
            if resumes:
                trainer.resume()
                if writes and settings["epochs"] != folder.read_config()["epochs"]:
                    folder.write_config({**folder.read_config(), "epochs": settings["epochs"]})
                    # They are of weights that are going to be replaced.
                    for file in (folder.result, folder.verdicts, folder.gallery, folder.report):
                        file.unlink(missing_ok=True)
            trainer.fit()
        # The first process writes the weights that all read now.
        accelerator.wait_for_everyone()
        network = load_weights(fresh_model(settings["model"], training_set, settings["normalize"]), folder.model)
        network = network.to(accelerator.device).eval()
        evaluation = _evaluate(folder, network, settings, images.get("test"), accelerator.device, progress)
        accelerator.end_training()
    return Trained(folder, network, evaluation)


def _settings_of(folder: RunFolder, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that goes on, with what may change of those given."""
    known = {name: setting for name, setting in settings_of(train).items() if name in DEFAULTS}
    settings = {**DEFAULTS, **unchanged(folder, known)}
    asked = given["epochs"]
    if given["resume"] == "auto":
        settings |= {name: given[name] for name in MAY_CHANGE}
        asked = settings["epochs"] if asked == settings["epochs"] else int(asked)
    else:
        others = [name for name in DEFAULTS if name not in _RESUMED and given[name] != DEFAULTS[name]]
        if others:
            raise InputError(
                f"resume goes on with the run's own settings, but {', '.join(others)} came with it; leave it out, or "
                "start another run without resume"
            )
    return settings if asked is EPOCHS else extended(settings, asked, str(folder.path))


# The command line passes networks and optimisers on with their defaults written out.
_RESUMED = ("epochs", "device", "model", "optimizer")
_PLACE = ("out", "overwrite", "resume", "trust", "observer", "progress")
DEFAULTS: dict[str, Any] = {
    name: parameter.default for name, parameter in inspect.signature(train).parameters.items() if name not in _PLACE
}
"""The settings of a run, which its config.yaml records, with their defaults."""


def _begin_trackers(accelerator: Accelerator) -> None:
    if accelerator.log_with:
        accelerator.init_trackers("toughen")


def _evaluate(
    folder: RunFolder,
    network: nn.Module,
    settings: dict[str, Any],
    test_set: ImageSet | None,
    device: torch.device,
    progress: Progress | None,
) -> Evaluation | None:
    if test_set is None:
        return None
    with Processes.from_environment() as processes:
        return evaluate_into(
            folder,
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
