"""One step: the inner maximum, the loss and its gradient, the update of the weights and of their average."""

import math
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from toughen.batch import Batch
from toughen.errors import InputError, ToughenWarning
from toughen.methods import Method, Perturbed, Terms, total, weighted
from toughen.methods.step import Together
from toughen.models.fold import agrees, fold
from toughen.models.layout import lay_out
from toughen.models.linearised import may_linearise
from toughen.models.passes import joined, may_join
from toughen.numbers import check_number
from toughen.training.averaging import frozen_stages
from toughen.training.guards.attack import gain
from toughen.training.guards.collapse import Cure
from toughen.training.guards.memory import Thrift
from toughen.training.optimizer import parameter_groups
from toughen.training.settings import Settings
from toughen.training.trace.trace import Trace

Moves = list[tuple[Tensor, Tensor]]
"""Weights, each with what adversarial weight perturbation added to it."""


class TrainingStep(Together):
    """All terms of a step as one forward, so that data parallelism sees one call whatever the method computes."""

    def forward(self, batch: Batch, perturbed: Perturbed) -> Terms:
        """The method's terms on this batch, weighted."""
        return weighted(self.method.terms(self.model, batch, perturbed), batch)


class Updates:
    """Updates of the weights of a run, step by step.

    Attributes:
        damping: factor of every learning rate, beside the schedule's; below 1 after a rollback.
        cure: what the attack does otherwise after a collapse.
        looks: whether to look at what the next step's attack gains.
        gains: what the last attack that was looked at gained over noise.
        thrift: what passes do otherwise after one that did not fit into memory.
        joined: the network, where its passes for a loss are one; None: they are made one after the other.
        trace: what the run records of its steps.

    Args:
        model: the network to train, on the device.
        method: the method, on the device and bound to its threat and generator.
        settings: those of the loop.
        accelerator: device and precision.
        images: a few, to compare a replica for the attack with the network on.
        per_epoch: steps of an epoch.
        trace: what the run records of its steps; default nothing.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        settings: Settings,
        accelerator: Accelerator,
        images: Tensor,
        per_epoch: int,
        trace: Trace | None = None,
    ) -> None:
        self.method, self.settings, self.per_epoch, self.trace = method, settings, per_epoch, trace or Trace()
        self.accelerator, self.layout = accelerator, settings.layout
        self.model = lay_out(model, images, self.layout, self.dtype)
        for companion in method.children():
            if any(isinstance(layer, nn.Conv2d) for layer in companion.modules()):
                lay_out(companion, images, self.layout, self.dtype)
        self.frozen = frozen_stages(model, settings.freeze, settings.average)
        optimizer = settings.optimizer(
            parameter_groups(model, method, settings.decay_all, settings.layer_decay, settings.body_rate)
        )
        self.rates = [float(group["lr"]) * group.get("lr_scale", 1.0) for group in optimizer.param_groups]
        self.step, self.optimizer = accelerator.prepare(TrainingStep(model, method), optimizer)
        self.averaged = settings.average.build(model) if settings.average else None
        self.owed: Moves = []
        self.damping, self.cure = 1.0, Cure(method)
        networks = [model, *method.children(), *([] if self.averaged is None else [self.averaged.module])]
        self.thrift = Thrift(networks, images)
        self.looks, self.gains = False, torch.zeros(0)
        self.joined: nn.Module | None = None
        self.replica = None
        if settings.fast and method.attacks_outputs:
            self.replica = fold(model, images, self.dtype, self.layout)
        if self.replica is not None and self.dtype != torch.float32:
            # What bf16 rounds away is asked of this one, and it can be proved without bf16's tolerance.
            self.replica.exact = fold(model, images, torch.float32, self.layout)
            if self.replica.exact is None:
                self.replica = None
            else:
                self.replica.linearises = may_linearise(self.replica, images)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the network's products."""
        return torch.bfloat16 if self.accelerator.mixed_precision == "bf16" else torch.float32

    @property
    def rate(self) -> float:
        """The last update's learning rate, the highest where groups have their own."""
        return max(group["lr"] for group in self.optimizer.param_groups)

    @property
    def average(self) -> nn.Module | None:
        """The averaged network, from its first update on."""
        begun = self.averaged is not None and int(self.averaged.n_averaged) > 0
        return self.averaged.module if self.averaged is not None and begun else None

    @property
    def reported(self) -> nn.Module:
        """The network that is validated and saved: the averaged one from the average's first update on."""
        return self.method.inference_model(self.model if self.average is None else self.average)

    def check_rates(self) -> None:
        """Raise unless the run's learning rates are usable, and one of them at least is not 0.

        Raises:
            InputError: naming the schedule.
        """
        settings, name = self.settings, type(self.settings.schedule).__name__
        starts = range(0, self.per_epoch, settings.accumulate)
        factors = [
            settings.schedule.factor(epoch + start / self.per_epoch, settings.epochs)
            for epoch in range(settings.epochs)
            for start in starts
        ]
        for factor in (min(factors), max(factors), sum(factors)):  # a sum with NaN in it is NaN
            check_number(f"--schedule {name}: its factor", factor, least=0)
        if not any(factors):
            raise InputError(
                f"--schedule {name}: the learning rate is 0 in every update of the run ({len(factors)}), which would "
                "train nothing; raise --epochs, lower --batch_size or take --schedule Constant"
            )

    def forget_gradients(self) -> None:
        """Drop what batches of an update that will not be made have accumulated."""
        self.optimizer.zero_grad()
        self.owed.clear()

    def prove_fast_paths(self, images: Tensor) -> None:
        """Attack the network itself from now on if the replica is no longer the same function; a warning says so.

        The network's passes for a loss are joined where that gives what separate ones give.

        To be called at the start of every epoch and after a resume: what holds for a new network need not hold later.

        Args:
            images: a few of the training set, on the device.
        """
        joins = self.settings.fast and not self.settings.compile
        self.joined = self.model if joins and may_join(self.model, images, self.dtype) else None
        if self.replica is not None and not agrees(self.model, self.replica.refresh(), images, self.dtype):
            self.replica = None
            warnings.warn(
                "the fast copy of the network that attacks run on no longer gives the network's logits and gradients; "
                "they run on the network itself from here on, which takes longer (--fast false does so from the start)",
                ToughenWarning,
                stacklevel=2,
            )

    def _perturbed(self, batch: Batch) -> Perturbed:
        attacked = self.model if self.replica is None else self.replica.refresh()
        with self.accelerator.autocast():
            return self.method.perturb(attacked, self.cure.batch(batch))

    def take(self, batch: Batch, epoch: int, place: int, last: bool, clean: bool = False) -> Terms:
        """One forward and backward pass; an update of the weights at the end of each accumulated group.

        Args:
            batch: images and targets as the method is to see them.
            epoch: its number, from 0.
            place: number of the batch in its epoch, from 0.
            last: whether it is the epoch's last one.
            clean: leave the images as they are, without an inner maximum.
        """
        accelerator, settings = self.accelerator, self.settings
        update = last or (place + 1) % settings.accumulate == 0
        group_start = place - place % settings.accumulate
        group_size = min(settings.accumulate, self.per_epoch - group_start)
        self.model.train()
        for stage in self.frozen:
            stage.eval()
        batch = replace(batch, images=batch.images.contiguous(memory_format=self.layout))
        perturbed = Perturbed(batch.images, batch.images) if clean else self._perturbed(batch)
        self.looks = self.looks and not clean
        if self.looks:
            with accelerator.autocast():
                network, seed = self.method.inference_model(self.model), epoch * self.per_epoch + place
                self.gains = gain(self.method, network, batch, perturbed.images, seed)
        self.trace.look(batch, perturbed)
        moved, watched = self._moved_weights(batch, perturbed, epoch), self.trace.watching(batch, perturbed)
        join = joined(None if self.thrift.chosen else self.joined)
        with join, moved as moves, nullcontext() if update else accelerator.no_sync(self.step), watched as tell:
            terms = self.step(batch, perturbed)
            tell(terms)
            accelerator.backward(total(terms) / group_size)
        self.method.after_loss(batch, perturbed)
        if settings.awp is not None and settings.awp.decay_moved:
            self.owed += [(weight, move / group_size) for weight, move in moves]
        if update:
            self._update(epoch, group_start, last)
        return terms

    def _update(self, epoch: int, group_start: int, last: bool) -> None:
        settings, per_epoch = self.settings, self.per_epoch
        if settings.clip_grad_norm is not None:
            self.accelerator.clip_grad_norm_(self.step.parameters(), settings.clip_grad_norm)
        factor = settings.schedule.factor(epoch + group_start / per_epoch, settings.epochs)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor * self.damping
        if self.owed:
            # SGD adds the decay of w; with that of v it is the decay of w + v.
            decays = {
                weight: group["weight_decay"] for group in self.optimizer.param_groups for weight in group["params"]
            }
            for weight, move in self.owed:
                if weight.grad is not None:
                    weight.grad.add_(move, alpha=decays[weight])
            self.owed.clear()
        self.optimizer.step()
        self.optimizer.zero_grad()
        number = epoch * math.ceil(per_epoch / settings.accumulate) + group_start // settings.accumulate + 1
        if self.averaged is not None and settings.average is not None and settings.average.due(epoch, last, number):
            settings.average.update(self.averaged, self.model, self.method)
        self.method.after_update(self.model)

    def _moved_weights(self, batch: Batch, perturbed: Perturbed, epoch: int) -> AbstractContextManager[Moves]:
        awp = self.settings.awp
        if awp is None or not awp.due(epoch):
            return nullcontext([])

        def loss() -> Tensor:
            # On the bare modules, as the inner maximum: the wrapper's gradients may be accumulating.
            with self.accelerator.autocast():
                return total(weighted(self.method.awp_terms(self.model, batch, perturbed), batch))

        return awp.moved(self.model, self.method, loss, partial(self.accelerator.reduce, reduction="mean"))
