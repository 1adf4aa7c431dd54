"""The only training loop."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from toughen.batch import Batch
from toughen.data import Loader
from toughen.data.loader import killed_worker
from toughen.errors import DataError, DivergedError, RunError
from toughen.hardware.memory import is_out_of_memory
from toughen.methods import Method
from toughen.reading.schema import UnfitError, check_kind
from toughen.run import RunFolder
from toughen.run.manifest import is_damaged
from toughen.settings.trust import trust_option
from toughen.signals import stop_requests
from toughen.training.checkpoint import (
    OwnState,
    Place,
    as_it_is,
    drop_damaged,
    load_state,
    own_buffers,
    save_state,
    warn_of_other_numbers,
)
from toughen.training.compile import CompiledPasses
from toughen.training.cost import Meter
from toughen.training.guards.watch import Setback, Watch
from toughen.training.log import EpochSums, Observer, Row, read_rows, write_rows
from toughen.training.pending import PATIENCE, PendingWrites
from toughen.training.ramps import Growth
from toughen.training.settings import Settings
from toughen.training.setup import surroundings
from toughen.training.stopping import Interrupted, any_of
from toughen.training.updates import Updates
from toughen.training.validation import Validation, validate

_A_MOMENT = 10.0
"""Seconds that a run which is to stop waits for its disk; a scheduler kills it soon."""


@dataclass(frozen=True)
class Batches:
    """The images of a run, on its device.

    Attributes:
        train: loader that an epoch goes through.
        probe: up to 1,000 of these images, which the method may look at before an epoch.
        validation: held-out images.
        soften: labels of a batch as the method is to see them.
    """

    train: Loader
    probe: Batch
    validation: list[Batch]
    soften: Callable[[Batch], Batch]

    def digest(self) -> str:
        """SHA-256 of the places of training and validation images in their set (int64, little endian).

        The seed does not fix them: they depend on the labels, and on how a version of toughen draws.
        """
        held_out = [batch.indices.cpu() for batch in self.validation if batch.indices is not None]
        parts = (self.train.indices, torch.cat(held_out))
        return sha256(b"|".join(part.numpy().astype("<i8").tobytes() for part in parts)).hexdigest()


class Trainer:
    """One run: its parts, its place, and the loop over them.

    Args:
        model: the network to train, on the device.
        method: the method, on the device and bound to its threat and generator.
        batches: the images.
        settings: those of the loop.
        folder: the one that the run writes into.
        accelerator: device, precision and trackers.
        generators: sources of the run's draws, by name; checkpoints keep their states.
        observer: somebody who watches.

    Attributes:
        begun: what the run was begun with, as plain data; checkpoints keep it.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        batches: Batches,
        settings: Settings,
        *,
        folder: RunFolder,
        accelerator: Accelerator,
        generators: dict[str, torch.Generator],
        observer: Observer,
    ) -> None:
        self.model, self.method, self.batches, self.settings = model, method, batches, settings
        self.folder, self.accelerator, self.observer = folder, accelerator, observer
        self.updates = Updates(model, method, settings, accelerator, batches.probe.images[:2], len(batches.train))
        self.own = OwnState(generators, own_buffers(model, method) if accelerator.num_processes > 1 else {})
        share = batches.train.batch_size // accelerator.num_processes
        networks = [each for each in (model, self.updates.replica) if settings.compile and each is not None]
        self.passes = [CompiledPasses(network, share) for network in networks]
        self.growth = Growth(settings.attack_steps, settings.image_size, method, settings.epochs)
        self.meter = Meter(accelerator.device, self.updates.dtype, accelerator.num_processes)
        self.sums = EpochSums()
        self.watch = Watch(settings.guards, self.updates, batches.validation, folder)
        self.epoch, self.batch, self.seconds = 0, 0, 0.0
        self.best, self.best_epoch = -1.0, 0
        self.rows: list[Row] = []
        self.begun: dict[str, Any] = {}
        self.pending = PendingWrites(folder)

    @property
    def train(self) -> Loader:
        """Loader of training images, which an epoch goes through."""
        return self.batches.train

    @property
    def place(self) -> int:
        """Steps of the whole run that are done."""
        return self.epoch * len(self.train) + self.batch

    @property
    def reported(self) -> nn.Module:
        """The network that is validated and saved: the averaged one from the average's first update on."""
        average = self.updates.average
        return self.method.inference_model(self.model if average is None else average)

    def fit(self) -> None:
        """Train to the last epoch.

        Raises:
            Interrupted: a signal asked the process to stop (see `asked_to_stop`); the run is saved.
            DataError: a process that decodes images was killed.
            RunError: a step does not fit into memory.
            DivergedError: loss, weights or outputs became NaN or infinite, after all rollbacks too; the last checkpoint
                is kept.
        """
        per_epoch = len(self.train)
        self.observer.started(self.settings.epochs, per_epoch, self.place)
        try:
            with self.prepared(), stop_requests(self.accelerator.num_processes > 1) as stop_requested:
                if self.watch.rolls_back and not self.folder.checkpoint.exists():
                    self.save()
                while self.epoch < self.settings.epochs and not self.watch.ended:
                    try:
                        self._run_epoch(stop_requested)
                    except Setback as setback:
                        self._roll_back(setback)
                self.pending.insist(PATIENCE, given_up=stop_requested)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise RunError(self._too_large()) from error
            killed = killed_worker(error) if isinstance(error, RuntimeError) else None
            if killed is None:
                raise
            raise DataError(f"{killed}; then go on with: {self._resume_command}") from error
        except DivergedError as error:
            raise DivergedError(
                f"{error}; the last good checkpoint is kept in {self.folder.checkpoint}. Lower --optimizer.lr, "
                "or set --clip_grad_norm 1"
            ) from error
        finally:
            self.observer.finished()

    @property
    def _resume_command(self) -> str:
        return f"toughen train --resume {self.folder.path}{trust_option(self.begun.get('config'))}"

    def _too_large(self) -> str:
        """What to do where a step does not fit into memory. In parts BatchNorm would see others, so it is asked for."""
        size, accumulate = self.train.batch_size, self.settings.accumulate
        kept = f"; the last checkpoint is kept in {self.folder.checkpoint}" if self.folder.checkpoint.exists() else ""
        return (
            f"the memory of {self.accelerator.device} does not suffice for a step on {size} images in epoch "
            f"{self.epoch + 1}{kept}. Start again with --batch_size {max(1, size // 2)} --accumulate {2 * accumulate}: "
            "updates are of as many images, but BatchNorm sees half of them at a time, so that it is another run; "
            "toughen tune-batch finds the largest size that fits"
        )

    def prepared(self) -> AbstractContextManager[None]:
        """Set up what holds while steps are taken."""
        return surroundings(self.accelerator.device, self.settings.fast, self.settings.compile)

    def begin_epoch(self) -> None:
        """Bring attack, method and loader to the run's place."""
        self.growth.set_attack(self.method, self.epoch)
        self.updates.cure.set_attack()
        if self.batch == 0:
            self.method.begin_epoch(self.model, self.epoch, self.batches.probe)
        # Other images in every epoch, and the same ones after a resume.
        place = 8 * self.epoch % max(1, len(self.batches.probe) - 7)
        self.updates.prove_replica(self.batches.probe.images[place : place + 8])
        self.train.start(self.epoch, self.batch)

    def _run_epoch(self, stop_requested: Callable[[], bool]) -> None:
        per_epoch, settings = len(self.train), self.settings
        self.begin_epoch()
        began = time.perf_counter()
        for batch in self.train:
            last = self.batch + 1 == per_epoch
            self.train_on(batch, last)
            self.batch += 1
            place = self.place
            self.observer.stepped(place)
            if place % settings.log_every == 0 or last:
                self.watch.check(self.sums)
            if not last:
                self.watch.check_attack(self.model, place)
            at_update = last or self.batch % settings.accumulate == 0
            # Several processes stop at the same step, and speak of it only now and then.
            asked = self.accelerator.num_processes == 1 or last or place % settings.log_every == 0
            stopping = at_update and asked and any_of(stop_requested(), self.accelerator)
            if stopping or (at_update and settings.checkpoint_every and place % settings.checkpoint_every == 0):
                now = time.perf_counter()
                self.seconds, began = self.seconds + now - began, now
                self.save()
            if stopping:
                self.pending.insist(_A_MOMENT)
                raise Interrupted(f"stopped in epoch {self.epoch + 1} and saved; go on with: {self._resume_command}")
        self.seconds += time.perf_counter() - began
        self._end_epoch()

    def train_on(self, batch: Batch, last: bool) -> None:
        """One step: its FLOPs counted if it is the first of its kind, else by compiled code if that is asked for."""
        batch = self.batches.soften(replace(batch, images=self.growth.resized(batch.images, self.epoch)))
        with ExitStack() as stack:
            if not self.meter.knows(self.kind):
                stack.enter_context(self.meter.counting(self.kind, len(batch)))
            else:
                for passes in self.passes:
                    stack.enter_context(passes.on())
            terms = self.updates.take(batch, self.epoch, self.batch, last)
        self.sums.add(terms, len(batch), self.epoch * len(self.train) + self.batch + 1)

    @property
    def kind(self) -> str:
        """The epoch's kind of steps, which all cost the same."""
        awp = self.settings.awp
        moved = ", weights moved" if awp is not None and awp.due(self.epoch) else ""
        return f"{self.growth.kind(self.epoch)}{moved}{self.updates.cure.kind}"

    def _end_epoch(self) -> None:
        settings, accelerator = self.settings, self.accelerator
        if self.updates.average is not None and settings.average is not None:
            self.train.start(self.epoch, 0)
            network = self.reported
            with self.accelerator.autocast():
                settings.average.update_bn(
                    network, (self.method.batchnorm_images(network, batch) for batch in self.train)
                )
        figures = self._validate()
        self.watch.validated(figures)
        clean, robust = figures.clean, figures.pgd
        row: Row = {
            "epoch": self.epoch + 1,
            "step": (self.epoch + 1) * len(self.train),
            "lr": self.updates.rate,
            **self.sums.means(partial(accelerator.reduce, reduction="mean")),
            "val_clean": clean,
            "val_pgd": robust,
            **({} if figures.fgsm is None else {"val_fgsm": figures.fgsm}),
            **self.meter.figures(self.kind, self.sums.images * accelerator.num_processes, self.seconds),
        }
        # Ties go to the later epoch: it has seen more.
        score = robust + clean / 1000 if self.method.defends else clean + robust / 1000
        self.rows = [*self.rows, row]
        self.watch.epoch_ended(row, sum(map(len, self.batches.validation)), settings.select == "best")
        best = settings.select == "last" or score >= self.best
        self.best, self.best_epoch = max(self.best, score), self.epoch + 1 if best else self.best_epoch
        self.accelerator.log(row, step=int(row["step"]))
        self.observer.epoch_ended(row)
        self.epoch, self.batch, self.seconds, self.sums = self.epoch + 1, 0, 0.0, EpochSums()
        self.save(ended=True, best=best)

    def _validate(self) -> Validation:
        with self.accelerator.autocast():
            return validate(self.reported, self.batches.validation, self.method.threat, fgsm=self.watch.measures)

    def _roll_back(self, setback: Setback) -> None:
        """Take up the last checkpoint again, cured, or for good where there is no cure.

        Raises:
            DivergedError: there is no cure, and no network worth to be reported.
        """
        cured = self.watch.may_roll_back(setback)
        epoch, step, cost, state = self.epoch + 1, self.place, self.meter.state_dict(), self.watch.state_dict()
        self.accelerator.wait_for_everyone()  # the first one may be writing the checkpoint
        self.resume()
        self.meter.load_state_dict(cost)  # what was in vain was paid for too
        self.watch.load_state_dict(state)
        self.updates.forget_gradients()
        (self.watch.cure if cured else self.watch.end)(setback, epoch, step, self.place)
        # A run that ends in its first epoch has no network to report yet.
        self.save(best=self.watch.ended and not self.folder.model.exists())

    def save(self, ended: bool = False, best: bool = False) -> None:
        """Write the checkpoint and what waits to be written, unless something has already gone wrong."""
        begun = self.place > 0
        self.watch.check(self.sums, *((self.model, self.batches.probe.images[:8]) if begun else ()))
        state = self.state_dict()
        if self.accelerator.is_main_process:
            if ended:
                self.pending.add("metrics", partial(write_rows, self.folder.metrics, self.rows))
            if best:
                self._save_model()
            self.pending.add("checkpoint", partial(save_state, self.folder.checkpoint, state))
            self.pending.try_now()

    def state_dict(self) -> dict[str, Any]:
        """The run's place and everything that has changed since its start. All processes must call it together."""
        averaged = self.updates.averaged
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "rows": self.rows,
            "begun": self.begun,
            "seconds": self.seconds,
            "cost": self.meter.state_dict(),
            "watch": self.watch.state_dict(),
            "split": self.batches.digest(),
            "model": self.model.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.updates.optimizer.state_dict(),
            "averaged": None if averaged is None else averaged.state_dict(),
            "processes": gather_object([{"sums": self.sums.state_dict(), **self.own.state_dict()}]),
        }

    def resume(self) -> None:
        """Bring a run that has not begun to where its folder's checkpoint was saved.

        Raises:
            RunError: there is none, it is damaged, or it belongs to another architecture or method, or to other
                training and validation images.
        """
        state = load_state(self.folder.checkpoint)
        if state.get("split") != self.batches.digest():
            raise RunError(
                f"the checkpoint in {self.folder.checkpoint} is of other training and validation images than are drawn "
                "now: another version of toughen began the run, or its data changed. Going on would train on images "
                "that validation holds out; go on with the version that began it, or start it again with --overwrite"
            )
        try:
            check_kind(state, Place)
            self.model.load_state_dict(state["model"])
            self.method.load_state_dict(state["method"])
            self.updates.optimizer.load_state_dict(state["optimizer"])
            if self.updates.averaged is not None:
                self.updates.averaged.load_state_dict(state["averaged"])
            self.meter.load_state_dict(state["cost"])
            self.epoch, self.batch = state["epoch"], state["batch"]
            self.best, self.seconds = state["best"], state["seconds"]
            if "watch" in state:  # checkpoints of before there were guards have none
                self.watch.load_state_dict(state["watch"])
            self.best_epoch = state.get("best_epoch", 0)
            earlier = read_rows(self.folder.metrics) if "rows" not in state else state["rows"]
            self.rows = [row for row in earlier if row["epoch"] <= self.epoch]
            own, process, processes = state["processes"], self.accelerator.process_index, self.accelerator.num_processes
            if process < len(own):  # a process that the run did not have before draws from its fresh generators
                self.sums.load_state_dict(own[process]["sums"], self.accelerator.device)
                self.own.load_state_dict(own[process])
        except (UnfitError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise RunError(
                f"the checkpoint in {self.folder.checkpoint} does not fit the configuration in {self.folder.config}: "
                f"{error}"
            ) from error
        if len(own) != processes:
            warn_of_other_numbers(f"the run had {len(own)} processes and goes on with {processes}")
        if self.accelerator.is_main_process:
            drop_damaged(self.folder.checkpoint)
            self._mend()

    def _save_model(self) -> None:
        self.pending.add("model", as_it_is(self.folder, self.reported, self.method.auxiliary_networks()))

    def _mend(self) -> None:
        """Make metrics and weights that are missing or damaged again, where the checkpoint has them."""
        if self.rows and is_damaged(self.folder.metrics):
            self.pending.add("metrics", partial(write_rows, self.folder.metrics, self.rows))
        own = [self.folder.path / f"{name}.safetensors" for name in self.method.auxiliary_networks()]
        damaged = [path for path in (self.folder.model, *own) if is_damaged(path)]
        if self.best_epoch and damaged:
            if self.best_epoch != self.epoch or self.batch:
                raise RunError(
                    f"{damaged[0]} is damaged or missing: it was of epoch {self.best_epoch}, and the checkpoint is of "
                    f"epoch {self.epoch}; restore it, or start the run again with --overwrite"
                )
            self._save_model()
        self.pending.try_now()
