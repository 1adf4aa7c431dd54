"""The only training loop."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial

import torch
from accelerate import Accelerator
from torch import nn

from toughen.batch import Batch
from toughen.data import Loader
from toughen.methods import Method
from toughen.run import RunFolder
from toughen.signals import stop_requests
from toughen.training.batches import Batches
from toughen.training.checkpoint import OwnState, own_buffers
from toughen.training.compile import CompiledPasses
from toughen.training.cost import Meter
from toughen.training.failures import failures_explained, resume_command
from toughen.training.guards.watch import Setback, Watch
from toughen.training.log import Observer, Row
from toughen.training.pending import PATIENCE
from toughen.training.position import Position
from toughen.training.ramps import Growth
from toughen.training.replays import take
from toughen.training.saving import Saving
from toughen.training.settings import Settings
from toughen.training.setup import surroundings
from toughen.training.stopping import Interrupted, any_of
from toughen.training.trace.trace import trace_of
from toughen.training.trackers import track
from toughen.training.updates import Updates
from toughen.training.validation import Validation, score, validate

_A_MOMENT = 10.0
"""Seconds that a run which is to stop waits for its disk; a scheduler kills it soon."""


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
        at: where the run is.
        saving: what it keeps in its folder.
        group: batches that are to be taken together with the next ones.
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
        self.at, self.group = Position(), list[Batch]()
        method.epochs = settings.epochs
        self.trace = trace_of(settings.trace, model, method, batches.train, accelerator)
        images, per_epoch = batches.probe.images[:2], len(batches.train)
        self.updates = Updates(model, method, settings, accelerator, images, per_epoch, self.trace)
        share = batches.train.batch_size // accelerator.num_processes
        networks = [each for each in (model, self.updates.replica) if settings.compile and each is not None]
        self.passes = [CompiledPasses(network, share, settings.accumulate > 1) for network in networks]
        self.growth = Growth(
            method, settings.epochs, steps=settings.attack_steps, size=settings.image_size, eps=settings.attack_eps
        )
        self.meter = Meter(accelerator.device, self.updates.dtype, accelerator.num_processes)
        self.watch = Watch(settings.guards, self.updates, batches.validation, folder)
        self.saving = Saving(
            folder,
            position=self.at,
            updates=self.updates,
            watch=self.watch,
            meter=self.meter,
            own=OwnState(generators, own_buffers(model, method) if accelerator.num_processes > 1 else {}),
            batches=batches,
        )

    @property
    def train(self) -> Loader:
        """Loader of training images, which an epoch goes through."""
        return self.batches.train

    @property
    def place(self) -> int:
        """Steps of the whole run that are done."""
        return self.at.epoch * len(self.train) + self.at.batch

    def fit(self) -> None:
        """Train to the last epoch.

        Raises:
            Interrupted: a signal asked the process to stop (see `asked_to_stop`); the run is saved.
            DataError: a process that decodes images was killed.
            RunError: a step does not fit into memory.
            DivergedError: loss, weights or outputs became NaN or infinite, after all rollbacks too; the last checkpoint
                is kept.
        """
        settings, accelerator = self.settings, self.accelerator
        explained = failures_explained(
            self.folder, self.at, accelerator.device, self.train.batch_size, settings.accumulate
        )
        self.observer.started(settings.epochs, len(self.train), self.place)
        try:
            with explained, self.prepared(), stop_requests(accelerator.num_processes > 1) as stop_requested:
                if not self.folder.checkpoint.exists():  # from the start on it says what the run was begun with
                    self.save()
                while self.at.epoch < settings.epochs and not self.watch.ended:
                    setback: Setback | None = None
                    try:
                        with self.updates.thrift.on(self.updates.replica):
                            self._run_epoch(stop_requested)
                    except Setback as found:
                        setback = found
                    except (RuntimeError, MemoryError) as error:
                        setback = self.watch.out_of_memory(error)
                    if setback is not None:
                        self._roll_back(setback)
                self.saving.pending.insist(PATIENCE, given_up=stop_requested)
        finally:
            self.observer.finished()

    def prepared(self) -> AbstractContextManager[None]:
        """Set up what holds while steps are taken."""
        return surroundings(self.accelerator.device, self.settings.fast, self.settings.compile)

    def begin_epoch(self) -> None:
        """Bring attack, method and loader to the run's place."""
        self.growth.set_attack(self.method, self.at.epoch)
        self.updates.cure.set_attack()
        if self.at.batch == 0:
            self.method.begin_epoch(self.model, self.at.epoch, self.batches.probe)
        # Other images in every epoch, and the same ones after a resume.
        place = 8 * self.at.epoch % max(1, len(self.batches.probe) - 7)
        self.updates.prove_fast_paths(self.batches.probe.images[place : place + 8])
        self.train.start(self.at.epoch, self.at.batch)

    def _run_epoch(self, stop_requested: Callable[[], bool]) -> None:
        per_epoch, settings = len(self.train), self.settings
        self.begin_epoch()
        began = time.perf_counter()
        for batch in self.train:
            last = self.at.batch + 1 == per_epoch
            self.watch.look_at_attack(self.place + 1, last)
            self.train_on(batch, last)
            self.at.batch += 1
            place = self.place
            self.observer.stepped(place)
            if place % settings.log_every == 0 or last:
                self.watch.check(self.at.sums)
            if not self.group:
                self.watch.attack_looked_at(self.at.epoch + 1, place)
            if not last:
                self.watch.check_attack(self.model, place)
            at_update = last or self.at.batch % settings.accumulate == 0
            # Several processes stop at the same step, and speak of it only now and then.
            asked = self.accelerator.num_processes == 1 or last or place % settings.log_every == 0
            stopping = at_update and asked and any_of(stop_requested(), self.accelerator)
            if stopping or (at_update and settings.checkpoint_every and place % settings.checkpoint_every == 0):
                now = time.perf_counter()
                self.at.seconds, began = self.at.seconds + now - began, now
                self.save()
            if stopping:
                self.saving.pending.insist(_A_MOMENT)
                command = resume_command(self.folder, self.at.begun.get("config"))
                raise Interrupted(f"stopped in epoch {self.at.epoch + 1} and saved; go on with: {command}")
        self.at.seconds += time.perf_counter() - began
        self._end_epoch()

    def train_on(self, batch: Batch, last: bool) -> None:
        """One step: its FLOPs counted if it is the first of its kind, else by compiled code if that is asked for.

        Where the method replays, all batches of an update are taken together, when the last one is there.
        """
        batch = self.batches.soften(replace(batch, images=self.growth.resized(batch.images, self.at.epoch)))
        group, self.group = [*self.group, batch], []
        replays, at_update = self.method.replays, last or (self.at.batch + 1) % self.settings.accumulate == 0
        if replays > 1 and not at_update:
            self.group = group
            return
        images, kind = sum(map(len, group)), self.kind
        self.trace.aim(self.place, self.meter.flops.get(kind))
        with ExitStack() as stack:
            if not self.meter.knows(kind):
                stack.enter_context(self.meter.counting(kind, images))
            else:
                for passes in () if self.updates.thrift.chosen else self.passes:
                    stack.enter_context(passes.on())
            done = self.at.epoch + (self.at.batch + 1) / len(self.train)
            stack.enter_context(self.growth.ball(self.method, done))
            clean = self.growth.clean(self.at.epoch)
            found = take(self.updates, group, replays, epoch=self.at.epoch, end=self.at.batch, last=last, clean=clean)
        self.at.flops += self.meter.stepped(kind, images)
        for each, terms in zip(group, found, strict=True):
            self.at.sums.add(terms, len(each), self.place + 1)

    @property
    def kind(self) -> str:
        """The next step's kind: all of a kind cost the same."""
        awp = self.settings.awp
        moved = ", weights moved" if awp is not None and awp.due(self.at.epoch) else ""
        more = (moved, self.updates.cure.kind, self.updates.thrift.kind, self.method.step_kind)
        return "".join([self.growth.kind(self.at.epoch), *more])

    def _end_epoch(self) -> None:
        settings, accelerator = self.settings, self.accelerator
        if self.updates.average is not None and settings.average is not None:
            self.train.start(self.at.epoch, 0)
            network = self.updates.reported
            with self.accelerator.autocast():
                settings.average.update_bn(
                    network, (self.method.batchnorm_images(network, batch) for batch in self.train)
                )
        figures = self._validate()
        self.watch.validated(figures)
        clean, robust = figures.clean, figures.pgd
        row: Row = {
            "epoch": self.at.epoch + 1,
            "step": (self.at.epoch + 1) * len(self.train),
            "lr": self.updates.rate,
            **self.at.sums.means(partial(accelerator.reduce, reduction="mean")),
            "val_clean": clean,
            "val_pgd": robust,
            **({} if figures.fgsm is None else {"val_fgsm": figures.fgsm}),
            **self.meter.figures(self.at.flops, self.at.sums.images * accelerator.num_processes, self.at.seconds),
        }
        reached = score(clean, robust, self.method.defends)
        self.watch.epoch_ended(row, sum(map(len, self.batches.validation)), settings.select == "best")
        best = self.at.end_epoch(row, reached, always=settings.select == "last")
        track(accelerator, {**row, **self.trace.end_epoch(self.at.epoch)})
        self.observer.epoch_ended(row)
        self.save(ended=True, best=best)

    def _validate(self) -> Validation:
        network, images = self.updates.reported, self.batches.validation
        with self.accelerator.autocast():
            return validate(network, images, self.method.threat, fgsm=self.watch.measures)

    def _roll_back(self, setback: Setback) -> None:
        """Take up the last checkpoint again, cured, or for good where there is no cure.

        Raises:
            DivergedError: there is no cure, and no network worth to be reported.
        """
        cured = self.watch.may_roll_back(setback)
        epoch, step, cost, state = self.at.epoch + 1, self.place, self.meter.state_dict(), self.watch.state_dict()
        self.accelerator.wait_for_everyone()  # the first one may be writing the checkpoint
        self.saving.resume()
        self.meter.load_state_dict(cost)  # what was in vain was paid for too
        self.watch.load_state_dict(state)
        self.updates.forget_gradients()
        self.group.clear()
        (self.watch.cure if cured else self.watch.end)(setback, epoch, step, self.place)
        # A run that ends in its first epoch has no network to report yet.
        self.save(best=self.watch.ended and not self.folder.model.exists())

    def save(self, ended: bool = False, best: bool = False) -> None:
        """Write the checkpoint and what waits to be written, unless something has already gone wrong."""
        begun = self.place > 0
        self.watch.check(self.at.sums, *((self.model, self.batches.probe.images[:8]) if begun else ()))
        self.saving.save(ended, best)
