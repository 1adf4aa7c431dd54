"""Train a classifier, evaluate it and write its report."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import nn

from toughen.commands.trainings.carry_out import carry_out
from toughen.commands.trainings.request import EPOCHS, request_of
from toughen.commands.trainings.trained import Trained
from toughen.contracts import check_arguments
from toughen.data import Augment, CutMix, DataSource, Digits, ExtraImages
from toughen.evaluation import Budget, Progress, Sample
from toughen.hardware.precision import Precision
from toughen.methods import Method
from toughen.methods.trades import TRADES
from toughen.models import SmallCNN
from toughen.settings.signature import settings_of
from toughen.settings.trust import obeying_trust
from toughen.threat import ThreatModel
from toughen.training import (
    AWP,
    SGD,
    Average,
    GrowingEps,
    GrowingSize,
    GrowingSteps,
    Guards,
    MakeOptimizer,
    Observer,
    OneCycle,
    Schedule,
    Traced,
    Tracker,
)


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
    body_rate: float = 1.0,
    freeze: list[str] = [],  # noqa: B006 - never changed
    schedule: Schedule = OneCycle(),
    average: Average | None = None,
    awp: AWP | None = None,
    clip_grad_norm: float | None = None,
    accumulate: int = 1,
    augment: Augment | None = None,
    label_smoothing: float = 0.0,
    class_weight: Literal["none", "balanced"] = "none",
    cutmix: CutMix | None = None,
    extra: ExtraImages | None = None,
    train_images: int | None = None,
    val_images: int | None = None,
    attack_steps: GrowingSteps | None = None,
    image_size: GrowingSize | None = None,
    attack_eps: GrowingEps | None = None,
    init: str | None = None,
    normalize: bool | str = True,
    select: Literal["best", "last"] = "best",
    precision: Precision = "auto",
    device: str = "auto",
    channels_last: bool = True,
    fast: bool = True,
    compile: bool = False,
    sync_batchnorm: bool = False,
    workers: int = 2,
    seed: int = 0,
    checkpoint_every: int | None = None,
    log_every: int = 20,
    guards: Guards | None = Guards(),
    trackers: list[Tracker] = ["tensorboard"],  # noqa: B006 - never changed
    trace: list[Traced] = [],  # noqa: B006 - never changed
    budget: Budget = "standard",
    before: Budget = "quick",
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
        data: the images: the path of your own (a folder a class, a table, shards), digits, cifar10, ... or your own
            class.
        model: the network: small_cnn, resnet18, ..., timm:NAME, torchvision:NAME, hf:ORG/NAME, file.py:NAME, or a
            torch.nn.Module of your own.
        method: how it is trained: TRADES, PGDAT, ARR, Standard, ... or your own class.
        threat: the perturbations to withstand, norm and eps such as 8/255; default: what is customary for the data.
        epochs: passes over the training images; with resume, up to how many the run is extended.
        batch_size: images in a step, of all devices together.
        optimizer: SGD, AdamW or another class of torch.optim; or a function from parameters to an optimiser.
        decay_all: weight decay on biases and normalisation too, as in most published code of this field.
        layer_decay: each layer's learning rate as a share of the next one's, such as 0.75.
        body_rate: learning rate of all layers but the last as a share of the last one's, such as 0.1.
        freeze: stages that stay as they are, BatchNorm's statistics too, by their names, such as conv1,layer1.
        schedule: learning rate over the run: OneCycle, Cosine, MultiStep or Constant.
        average: average of the weights: EMA or SWA; the averaged network is then the one that is reported.
        awp: adversarial weight perturbation: gamma, and the epoch that it starts with; default none.
        clip_grad_norm: largest norm of the gradient; longer ones are shortened.
        accumulate: batches whose gradients make one update.
        augment: random crop and flip; default: crop by an eighth of the size, flip for colour images.
        class_weight: balanced: every class counts the same in the loss, however many images it has, by n / (K n_c).
        label_smoothing: share of every label that is spread over all classes in the supervised terms, 0 to below 1.
        cutmix: cut a box out of another image into every image, before the attack; default none.
        extra: more training images with labels or pseudo-labels, from an .npz file, for a fraction of every batch.
        train_images: train on so many images, drawn with the seed; default all that are not held out.
        val_images: training images held out to choose the checkpoint by; default a tenth, at most 1,000.
        attack_steps: fewer steps of the attack at first, all of them later.
        image_size: smaller images at first, full ones later.
        attack_eps: clean images or a smaller ball at first, all of eps later.
        init: weights to start from: a .safetensors, .pt, .pth or .ckpt file; pretrained: those that the network's
            library publishes, the default where the model's name names some; or random, for new ones in any case.
        normalize: true: by the data's mean and deviation, in front of the network; or by numbers
            such as 0.5,0.4,0.4/0.2,0.2,0.2; false or none: it sees [0, 1], as in most papers.
        select: report the checkpoint with the best robust accuracy on held-out images (Standard: clean), or the last.
        precision: fp32, or bf16 for the network's passes; auto takes bf16 where the hardware is faster in it.
        device: auto, cpu, cuda, cuda:1, mps; resume may change it.
        channels_last: hold images and weights in the channels-last layout, which convolutions like.
        fast: false: no replica for the attack, no channels_last, no TF32, auto is fp32.
        compile: run the network by torch.compile; takes minutes at the start.
        sync_batchnorm: with several processes, take BatchNorm's statistics over the batches of all of them.
        workers: processes that decode images where they do not fit in memory.
        seed: the same seed gives the same run on the same device.
        checkpoint_every: save within an epoch too, after so many steps.
        log_every: steps between two checks that loss and weights are finite.
        guards: what watches over the training and rolls back where it goes wrong; null for nothing.
        trackers: where figures go beside metrics.csv: tensorboard, mlflow, wandb, trackio.
        trace: what the training records of itself, which changes nothing of it: gradients (conflict between the terms
            of the loss), weights (what each image counts).
        budget: attacks of the final evaluation: quick, fast (estimates AutoAttack), standard (with it) or none.
        before: attacks on the network as the run finds it, where that tells the classes apart already; the report shows
            it beside the trained one. None without a final evaluation.
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
    return carry_out(request_of(given, DEFAULTS, settings_of(train)))


_PLACE = ("out", "overwrite", "resume", "trust", "observer", "progress")
DEFAULTS: dict[str, Any] = {
    name: parameter.default for name, parameter in inspect.signature(train).parameters.items() if name not in _PLACE
}
"""The settings of a run, which its config.yaml records, with their defaults."""
