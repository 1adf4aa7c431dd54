"""What a run keeps in its folder, and how it goes on from there."""

import warnings
from contextlib import suppress
from functools import partial
from typing import Any

from accelerate.utils import gather_object

from toughen.errors import RunError, ToughenWarning
from toughen.reading.schema import UnfitError, check_kind
from toughen.run import RunFolder
from toughen.run.manifest import is_damaged
from toughen.training.batches import Batches
from toughen.training.checkpoint import (
    OwnState,
    Place,
    as_it_is,
    before,
    drop_damaged,
    load_one,
    load_state,
    save_state,
    warn_of_other_numbers,
)
from toughen.training.cost import Meter
from toughen.training.guards.watch import Watch
from toughen.training.log import read_rows, write_rows
from toughen.training.pending import PendingWrites
from toughen.training.position import Position
from toughen.training.updates import Updates


class Saving:
    """Checkpoints, metrics and weights of one run, in its folder.

    Args:
        folder: the one that the run writes into.
        position: where the run is.
        updates: its weights, method and optimiser.
        watch: its guards.
        meter: its cost.
        own: the state of this process alone.
        batches: its images.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        position: Position,
        updates: Updates,
        watch: Watch,
        meter: Meter,
        own: OwnState,
        batches: Batches,
    ) -> None:
        self.folder, self.position, self.updates, self.watch = folder, position, updates, watch
        self.meter, self.own, self.batches = meter, own, batches
        self.accelerator = updates.accelerator
        self.pending = PendingWrites(folder)

    def save(self, ended: bool = False, best: bool = False) -> None:
        """Write the checkpoint and what waits to be written. All processes must call it together.

        Args:
            ended: an epoch has just ended.
            best: the network is the one to be reported.
        """
        state = self.state_dict()
        if self.accelerator.is_main_process:
            if ended:
                self.pending.add("metrics", partial(write_rows, self.folder.metrics, self.position.rows))
                for name, write in self.updates.trace.writes(self.folder).items():
                    self.pending.add(name, write)
            if best:
                self._save_model()
            self.pending.add("checkpoint", partial(save_state, self.folder.checkpoint, state))
            self.pending.try_now()

    def state_dict(self) -> dict[str, Any]:
        """The run's place and everything that has changed since its start. All processes must call it together."""
        at, updates = self.position, self.updates
        return {
            "epoch": at.epoch,
            "batch": at.batch,
            "best": at.best,
            "best_epoch": at.best_epoch,
            "rows": at.rows,
            "begun": at.begun,
            "seconds": at.seconds,
            "flops": at.flops,
            "cost": self.meter.state_dict(),
            "watch": self.watch.state_dict(),
            "trace": updates.trace.state_dict(),
            "split": self.batches.digest(),
            "model": updates.model.state_dict(),
            "method": updates.method.state_dict(),
            "optimizer": updates.optimizer.state_dict(),
            "averaged": None if updates.averaged is None else updates.averaged.state_dict(),
            "processes": gather_object(
                [{"sums": at.sums.state_dict(), "trace": updates.trace.own_state(), **self.own.state_dict()}]
            ),
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
            self._load(state)
        except (UnfitError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise RunError(
                f"the checkpoint in {self.folder.checkpoint} does not fit the configuration in {self.folder.config}: "
                f"{error}"
            ) from error
        before, now = len(state["processes"]), self.accelerator.num_processes
        if before != now:
            warn_of_other_numbers(f"the run had {before} processes and goes on with {now}")
        if self.accelerator.is_main_process:
            drop_damaged(self.folder.checkpoint)
            self._mend(state)

    def _load(self, state: dict[str, Any]) -> None:
        at, updates = self.position, self.updates
        updates.model.load_state_dict(state["model"])
        updates.method.load_state_dict(state["method"])
        updates.optimizer.load_state_dict(state["optimizer"])
        if updates.averaged is not None:
            updates.averaged.load_state_dict(state["averaged"])
        self.meter.load_state_dict(state["cost"])
        at.epoch, at.batch = state["epoch"], state["batch"]
        at.best, at.seconds, at.flops = state["best"], state["seconds"], state.get("flops", 0.0)
        if "watch" in state:  # checkpoints of before there were guards have none
            self.watch.load_state_dict(state["watch"])
        updates.trace.load_state_dict(state.get("trace", {}))
        at.best_epoch = state.get("best_epoch", 0)
        earlier = read_rows(self.folder.metrics) if "rows" not in state else state["rows"]
        at.rows = [row for row in earlier if row["epoch"] <= at.epoch]
        own, process = state["processes"], self.accelerator.process_index
        if process < len(own):  # a process that the run did not have before draws from its fresh generators
            at.sums.load_state_dict(own[process]["sums"], self.accelerator.device)
            updates.trace.load_own_state(own[process].get("trace", {}))
            self.own.load_state_dict(own[process])

    def _save_model(self) -> None:
        method = self.updates.method
        self.pending.add("model", as_it_is(self.folder, self.updates.reported, method.auxiliary_networks()))

    def _mend(self, state: dict[str, Any]) -> None:
        """Make metrics and weights that are missing or damaged again, where the checkpoint has them."""
        at, networks = self.position, self.updates.method.auxiliary_networks()
        files = [self.folder.model, *(self.folder.path / f"{name}.safetensors" for name in networks)]
        weights = [file for file in files if is_damaged(file)]
        damaged = [self.folder.metrics] * (bool(at.rows) and is_damaged(self.folder.metrics))
        if damaged:
            self.pending.add("metrics", partial(write_rows, self.folder.metrics, at.rows))
        for name, write in self.updates.trace.writes(self.folder).items():
            if is_damaged(self.folder.path / name):
                damaged.append(self.folder.path / name)
                self.pending.add(name, write)
        if at.best_epoch and weights:
            damaged += weights
            source = next((each for each in (state, self._before()) if _ends_epoch(each, at.best_epoch)), None)
            if source is None:
                raise RunError(
                    f"{weights[0]} is damaged or missing: it was of epoch {at.best_epoch}, and the checkpoint is of "
                    f"epoch {at.epoch}; restore it, or start the run again with --overwrite"
                )
            self._load(source)
            self._save_model()
            self._load(state)
        if damaged:
            names = ", ".join(map(str, damaged))
            warnings.warn(f"{names}: damaged or missing, and made again from the checkpoints", ToughenWarning, 2)
        self.pending.try_now()

    def _before(self) -> dict[str, Any]:
        """The checkpoint before the last one; nothing where there is none, or a damaged one."""
        with suppress(RunError):
            return load_one(before(self.folder.checkpoint))
        return {}


def _ends_epoch(state: dict[str, Any], epoch: int) -> bool:
    """Whether a checkpoint was saved at the end of this epoch, from 1."""
    return state.get("epoch") == epoch and state.get("batch") == 0
