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
from toughen.errors import DivergedError
from toughen.methods import Method
from toughen.run import RunFolder
from toughen.training.checkpoint import save_model, save_state
from toughen.training.compile import CompiledPasses
from toughen.training.cost import Meter
from toughen.training.log import EpochSums, Observer, Row, append_row
from toughen.training.ramps import Growth
from toughen.training.resume import go_on, state_of
from toughen.training.settings import Settings
from toughen.training.setup import surroundings
from toughen.training.stopping import Interrupted, any_of, stop_requests
from toughen.training.updates import Updates
from toughen.training.validation import validate


class Trainer:
    """One run: its parts, its place, and the loop over them.

    `model`, `method` and the loaders are ready to use (on the device, the method bound to its threat and generator).
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        train: Loader,
        first: Batch,
        validation: list[Batch],
        settings: Settings,
        folder: RunFolder,
        accelerator: Accelerator,
        generators: dict[str, torch.Generator],
        observer: Observer,
        layout: torch.memory_format = torch.contiguous_format,
        soften: Callable[[Batch], Batch] = lambda batch: batch,
    ) -> None:
        self.model, self.method, self.settings = model, method, settings
        self.train, self.first, self.validation = train, first, validation
        self.folder, self.accelerator, self.observer = folder, accelerator, observer
        self.generators, self.soften = generators, soften
        self.updates = Updates(model, method, settings, accelerator, layout, first.images[:2], len(train))
        share = train.batch_size // accelerator.num_processes
        networks = [each for each in (model, self.updates.replica) if settings.compile and each is not None]
        self.passes = [CompiledPasses(network, share) for network in networks]
        self.growth = Growth(settings.attack_steps, settings.image_size, method, settings.epochs)
        self.meter = Meter(accelerator.device, self.updates.dtype, accelerator.num_processes)
        self.sums = EpochSums()
        self.epoch, self.batch, self.best, self.seconds = 0, 0, -1.0, 0.0

    @property
    def reported(self) -> nn.Module:
        """The network that is validated and saved: the averaged one from the average's first update on."""
        average = self.updates.average
        return self.method.deployed(self.model if average is None else average)

    def fit(self) -> None:
        """Train to the last epoch.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM; the run is saved.
            DivergedError: a loss term became NaN or infinite; the last checkpoint is kept.
        """
        per_epoch = len(self.train)
        self.observer.started(self.settings.epochs, per_epoch, self.epoch * per_epoch + self.batch)
        try:
            with self.prepared(), stop_requests(self.accelerator.num_processes > 1) as stop_requested:
                while self.epoch < self.settings.epochs:
                    self._run_epoch(stop_requested)
        except DivergedError as error:
            raise DivergedError(
                f"{error}; the last good checkpoint is kept in {self.folder.checkpoint}. Lower --optimizer.lr, "
                "or set --clip_grad_norm 1"
            ) from error
        finally:
            self.observer.finished()

    def prepared(self) -> AbstractContextManager[None]:
        """What holds while steps are taken."""
        return surroundings(self.accelerator.device, self.settings.fast, self.settings.compile)

    def begin_epoch(self) -> None:
        """Bring attack, method and loader to the run's place."""
        self.growth.set_attack(self.method, self.epoch)
        if self.batch == 0:
            self.method.begin_epoch(self.model, self.epoch, self.first)
        # Other images in every epoch, and the same ones after a resume.
        place = 8 * self.epoch % max(1, len(self.first) - 7)
        self.updates.prove_replica(self.first.images[place : place + 8])
        self.train.start(self.epoch, self.batch)

    def _run_epoch(self, stop_requested: Callable[[], bool]) -> None:
        per_epoch, settings = len(self.train), self.settings
        self.begin_epoch()
        began = time.perf_counter()
        for batch in self.train:
            last = self.batch + 1 == per_epoch
            self.train_on(batch, last)
            self.batch += 1
            place = self.epoch * per_epoch + self.batch
            self.observer.stepped(place)
            if place % settings.log_every == 0 or last:
                self.sums.check()
            at_update = last or self.batch % settings.accumulate == 0
            # Several processes stop at the same step, and speak of it only now and then.
            asked = self.accelerator.num_processes == 1 or last or place % settings.log_every == 0
            stopping = at_update and asked and any_of(stop_requested(), self.accelerator)
            if stopping or (at_update and settings.checkpoint_every and place % settings.checkpoint_every == 0):
                now = time.perf_counter()
                self.seconds, began = self.seconds + now - began, now
                self.save()
            if stopping:
                raise Interrupted(
                    f"stopped in epoch {self.epoch + 1} and saved; go on with: "
                    f"toughen train --resume {self.folder.path}"
                )
        self.seconds += time.perf_counter() - began
        self._end_epoch()

    def train_on(self, batch: Batch, last: bool) -> None:
        """One step: its FLOPs counted if it is the first of its kind, else by compiled code if that is asked for."""
        batch = self.soften(replace(batch, images=self.growth.resized(batch.images, self.epoch)))
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
        return f"{self.growth.kind(self.epoch)}{', weights moved' if awp is not None and awp.due(self.epoch) else ''}"

    def _end_epoch(self) -> None:
        settings, accelerator = self.settings, self.accelerator
        if self.updates.average is not None and settings.average is not None:
            self.train.start(self.epoch, 0)
            network = self.reported
            with self.accelerator.autocast():
                settings.average.settle(network, (self.method.settle_images(network, batch) for batch in self.train))
        clean, robust = self._validate()
        row: Row = {
            "epoch": self.epoch + 1,
            "step": (self.epoch + 1) * len(self.train),
            "lr": self.updates.rate,
            **self.sums.means(partial(accelerator.reduce, reduction="mean")),
            "val_clean": clean,
            "val_pgd": robust,
            **self.meter.figures(self.kind, self.sums.images * accelerator.num_processes, self.seconds),
        }
        # Ties go to the later epoch: it has seen more.
        score = robust + clean / 1000 if self.method.defends else clean + robust / 1000
        if self.accelerator.is_main_process:
            append_row(self.folder.metrics, row)
            if settings.select == "last" or score >= self.best:
                save_model(self.folder, self.reported, self.method.companions())
        self.best = max(self.best, score)
        self.accelerator.log(row, step=int(row["step"]))
        self.observer.epoch_ended(row)
        self.epoch, self.batch, self.seconds, self.sums = self.epoch + 1, 0, 0.0, EpochSums()
        self.save()

    def _validate(self) -> tuple[float, float]:
        with self.accelerator.autocast():
            return validate(self.reported, self.validation, self.method.threat)

    def save(self) -> None:
        """Write the checkpoint, unless a term has already gone wrong."""
        self.sums.check()
        state = state_of(self)
        if self.accelerator.is_main_process:
            save_state(self.folder.checkpoint, state)

    def resume(self) -> None:
        """Go on from the folder's checkpoint; see `go_on`."""
        go_on(self)
