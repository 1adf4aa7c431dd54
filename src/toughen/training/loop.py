"""The only training loop."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor, nn

from toughen.batch import Batch
from toughen.data import Loader
from toughen.errors import DivergedError, RunError, ToughenError
from toughen.methods import Method, Perturbed, Terms, total
from toughen.models.fold import fold
from toughen.run import RunFolder, atomic
from toughen.training.averaging import Average
from toughen.training.checkpoint import GlobalRandomness, load_state, save_state
from toughen.training.log import EpochSums, Observer, Row, append_row
from toughen.training.optimizer import SGD, Schedule
from toughen.training.validation import validate
from toughen.training.weight_perturbation import AWP


class Interrupted(ToughenError):
    """The run was asked to stop and has saved itself; the message holds the command that goes on with it."""


class Step(nn.Module):
    """All terms of a step as one forward, so that data parallelism sees one call whatever the method computes."""

    def __init__(self, model: nn.Module, method: Method) -> None:
        super().__init__()
        self.model = model
        self.method = method
        # torch's name for what data parallelism does not broadcast from the first process in every step.
        self._ddp_params_and_buffers_to_ignore = [f"method.{name}" for name in method.memories]

    def forward(self, batch: Batch, perturbed: Perturbed) -> Terms:
        """The method's terms on this batch."""
        return self.method.terms(self.model, batch, perturbed)


@dataclass(frozen=True)
class Settings:
    """What the loop is told beside model, method and data. See `toughen.train` for the meaning of each."""

    epochs: int
    optimizer: SGD
    schedule: Schedule
    average: Average | None
    awp: AWP | None
    clip_grad_norm: float | None
    accumulate: int
    select: str
    log_every: int
    checkpoint_every: int | None
    fast: bool


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
        self.generators, self.layout, self.soften = generators, layout, soften
        self.model.to(memory_format=layout)
        optimizer = settings.optimizer.build([model, method])
        self.step, self.optimizer = accelerator.prepare(Step(model, method), optimizer)
        self.averaged = settings.average.build(model) if settings.average else None
        self.replica = None
        if settings.fast and method.attacks_outputs:
            dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
            self.replica = fold(model, first.images[:2], dtype, layout)
        self.sums = EpochSums()
        self.epoch, self.batch, self.best, self.seconds = 0, 0, -1.0, 0.0

    @property
    def reported(self) -> nn.Module:
        """The network that is validated and saved: the averaged one from the average's first update on."""
        averaged = self.averaged
        begun = averaged is not None and int(averaged.n_averaged) > 0
        return self.method.deployed(averaged.module if averaged is not None and begun else self.model)

    def fit(self) -> None:
        """Train to the last epoch.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM; the run is saved.
            DivergedError: a loss term became NaN or infinite; the last checkpoint is kept.
        """
        per_epoch = len(self.train)
        self.observer.started(self.settings.epochs, per_epoch, self.epoch * per_epoch + self.batch)
        try:
            with stop_requests() as stop_requested:
                while self.epoch < self.settings.epochs:
                    self._run_epoch(stop_requested)
        except DivergedError as error:
            raise DivergedError(
                f"{error}; the last good checkpoint is kept in {self.folder.checkpoint}. Lower --optimizer.lr, "
                "or set --clip_grad_norm 1"
            ) from error
        finally:
            self.observer.finished()

    def _run_epoch(self, stop_requested: Callable[[], bool]) -> None:
        per_epoch, settings = len(self.train), self.settings
        if self.batch == 0:
            self.method.begin_epoch(self.model, self.epoch, self.first)
        self.train.start(self.epoch, self.batch)
        began = time.perf_counter()
        for batch in self.train:
            last = self.batch + 1 == per_epoch
            self._train_on(batch, last)
            self.batch += 1
            place = self.epoch * per_epoch + self.batch
            self.observer.stepped(place)
            if place % settings.log_every == 0 or last:
                self.sums.check()
            at_update = last or self.batch % settings.accumulate == 0
            stopping = at_update and stop_requested()
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

    def _train_on(self, batch: Batch, last: bool) -> None:
        """One forward and backward pass; an update of the weights at the end of each accumulated group."""
        accelerator, settings, per_epoch = self.accelerator, self.settings, len(self.train)
        update = last or (self.batch + 1) % settings.accumulate == 0
        updates = math.ceil(per_epoch / settings.accumulate)
        group_start = self.batch - self.batch % settings.accumulate
        group_size = min(settings.accumulate, per_epoch - group_start)
        self.model.train()
        batch = self.soften(batch)
        batch = replace(batch, images=batch.images.contiguous(memory_format=self.layout))
        attacked = self.model if self.replica is None else self.replica.refresh()
        with accelerator.autocast():
            perturbed = self.method.perturb(attacked, batch)
        with self._moved_weights(batch, perturbed), nullcontext() if update else accelerator.no_sync(self.step):
            terms = self.step(batch, perturbed)
            accelerator.backward(total(terms) / group_size)
        self.sums.add(terms, len(batch), self.epoch * per_epoch + self.batch + 1)
        if not update:
            return
        if settings.clip_grad_norm is not None:
            accelerator.clip_grad_norm_(self.step.parameters(), settings.clip_grad_norm)
        rate = settings.optimizer.lr * settings.schedule.factor(self.epoch + group_start / per_epoch, settings.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        if (
            self.averaged is not None
            and settings.average is not None
            and settings.average.due(self.epoch, last, self.epoch * updates + self.batch // settings.accumulate + 1)
        ):
            settings.average.update(self.averaged, self.model, self.method)

    def _moved_weights(self, batch: Batch, perturbed: Perturbed) -> AbstractContextManager[None]:
        awp = self.settings.awp
        if awp is None or not awp.due(self.epoch):
            return nullcontext()

        def loss() -> Tensor:
            # On the bare modules, as the inner maximum: the wrapper's gradients may be accumulating.
            with self.accelerator.autocast():
                return total(self.method.terms(self.model, batch, perturbed))

        return awp.moved(self.model, self.method, loss, partial(self.accelerator.reduce, reduction="mean"))

    def _end_epoch(self) -> None:
        settings = self.settings
        if self.averaged is not None and settings.average is not None and int(self.averaged.n_averaged) > 0:
            self.train.start(self.epoch, 0)
            network = self.reported
            with self.accelerator.autocast():
                settings.average.settle(network, (self.method.settle_images(network, batch) for batch in self.train))
        clean, robust = self._validate()
        row: Row = {
            "epoch": self.epoch + 1,
            "step": (self.epoch + 1) * len(self.train),
            "lr": self.optimizer.param_groups[0]["lr"],
            **self.sums.means(),
            "val_clean": clean,
            "val_pgd": robust,
            "images_per_second": self.sums.images * self.accelerator.num_processes / max(self.seconds, 1e-9),
            "seconds": self.seconds,
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
        if self.accelerator.is_main_process:
            save_state(self.folder.checkpoint, self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """The run's place and everything that has changed since its start."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "best": self.best,
            "seconds": self.seconds,
            "sums": self.sums.state_dict(),
            "model": self.model.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "global": GlobalRandomness.state_dict(),
        }

    def resume(self) -> None:
        """Go on from the folder's checkpoint.

        Raises:
            RunError: there is none, it is damaged, or it belongs to another architecture or method.
        """
        state = load_state(self.folder.checkpoint)
        try:
            self.model.load_state_dict(state["model"])
            self.method.load_state_dict(state["method"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.averaged is not None:
                self.averaged.load_state_dict(state["averaged"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise RunError(
                f"the checkpoint in {self.folder.checkpoint} does not fit the configuration in "
                f"{self.folder.config}: {error}"
            ) from error
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        GlobalRandomness.load_state_dict(state["global"])
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.best, self.seconds = state["best"], state["seconds"]
        self.sums.load_state_dict(state["sums"], self.accelerator.device)


def save_model(folder: RunFolder, model: nn.Module, companions: Mapping[str, nn.Module]) -> None:
    """Write model.safetensors, and `<name>.safetensors` for each of the method's other networks."""
    places = {folder.path / f"{name}.safetensors": network for name, network in companions.items()}
    for place, network in {**places, folder.model: model}.items():
        tensors: dict[str, Tensor] = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
        with atomic(place) as path:
            save_file(tensors, path)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request that the loop can honour; a second one acts at once.

    Signals belong to the main thread: elsewhere nothing is requested.
    """
    requested = False

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        requested = True
        signal.signal(number, previous[signal.Signals(number)])

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, request)
    try:
        yield lambda: requested
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
