"""What a run's guards know and decide, between the loop, which asks them, and the guards themselves."""

import warnings
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.errors import DivergedError, ToughenWarning
from toughen.methods import Method
from toughen.random_state import own_random_state
from toughen.run import RunFolder
from toughen.training.guards.attack import IN_A_ROW, is_dead
from toughen.training.guards.collapse import FEW_STEPS, LOOKED_AT, collapsed, spread
from toughen.training.guards.events import Event, Events
from toughen.training.guards.finite import bad_outputs, bad_weights
from toughen.training.guards.overfitting import Peak
from toughen.training.guards.settings import NONE, Guards
from toughen.training.log import EpochSums, Row
from toughen.training.stopping import first_of
from toughen.training.updates import Updates
from toughen.training.validation import Validation, validate


class Setback(Exception):
    """Raised in all processes where a run has gone wrong, so that the loop goes back to the last checkpoint.

    Args:
        guard: the one that found it, by the name of its option.
        found: what is wrong, in words.
    """

    def __init__(self, guard: str, found: str) -> None:
        super().__init__(found)
        self.guard = guard


class Watch:
    """The guards of one run.

    Args:
        guards: which there are; None for none.
        updates: the run's, whose weights are watched, and whose learning rate and attack are changed.
        validation: held-out images.
        folder: the one that the run writes into.
    """

    def __init__(self, guards: Guards | None, updates: Updates, validation: list[Batch], folder: RunFolder) -> None:
        self.guards = NONE if guards is None else guards
        self.updates, self.folder = updates, folder
        self.method: Method = updates.method
        self.accelerator: Accelerator = updates.accelerator
        self.events = Events()
        self.best: dict[str, float] = {}
        self.peak: Peak | None = None
        self.ended, self.dead = False, 0
        self.measures = self.guards.collapse and self.method.defends
        self.held_out = [spread(validation, LOOKED_AT)] if self.measures else []

    @property
    def rolls_back(self) -> bool:
        """Whether the run may roll back at all, for which it needs a checkpoint from its start on."""
        guards = self.guards
        return (guards.finite or self.measures or guards.memory) and guards.rollbacks > 0

    def check(self, sums: EpochSums, model: nn.Module | None = None, images: Tensor | None = None) -> None:
        """Raise where loss or weights have gone wrong, or the outputs of a model that is going to be saved.

        Raises:
            Setback: one process has found something.
        """
        found = sums.bad_term()
        if self.guards.finite:
            found = found or bad_weights(self.updates.step)
            if found is None and model is not None and images is not None:
                with self.accelerator.autocast():
                    found = bad_outputs(model, images)
        self._raise("finite", found)

    def check_attack(self, model: nn.Module, place: int) -> None:
        """Every `check_every` steps of a method with few attack steps, raise where its network has collapsed.

        Raises:
            Setback: it has.
        """
        attack = getattr(self.method, "attack", None)
        few = isinstance(attack, GradientAttack) and attack.steps <= FEW_STEPS
        if self.measures and few and place % self.guards.check_every == 0:
            with self.accelerator.autocast(), own_random_state():
                figures = validate(self.method.inference_model(model), self.held_out, self.method.threat, fgsm=True)
            self._check_collapse(figures, "within an epoch")

    def look_at_attack(self, place: int, last: bool) -> None:
        """Have the next step looked at: every `check_every` steps, and at an epoch's end.

        Args:
            place: steps of the whole run that will be done then.
            last: whether the epoch ends with it.
        """
        due = last or place % self.guards.check_every == 0
        self.updates.looks = due and self.guards.dead_attack and self.method.defends

    def attack_looked_at(self, epoch: int, place: int) -> None:
        """Say where the attack does nothing, once."""
        if not self.updates.looks:
            return
        mean, dead = gather_object([(float(self.updates.gains.mean()), is_dead(self.updates.gains))])[0]
        self.dead = self.dead + 1 if dead else 0
        if self.dead >= IN_A_ROW and not self.events.said("dead_attack"):
            found = f"dead attack: what it climbs is only {mean:.2g} higher at its images than at noise"
            done = (
                "the run goes on, and learns to withstand noise; look at the attack's settings, or for masked gradients"
            )
            self._tell(Event("dead_attack", epoch, place, found, done))

    def validated(self, figures: Validation) -> None:
        """Raise where validation shows that something has gone wrong.

        Raises:
            Setback: it has.
        """
        if self.guards.finite:
            found = None if figures.finite else "outputs became NaN or infinite on the validation images"
            self._raise("finite", found)
        if self.measures:
            self._check_collapse(figures, "epoch")

    def _check_collapse(self, figures: Validation, kind: str) -> None:
        # The first process decides: BatchNorm's statistics, and so the figures, may differ between processes.
        figures = gather_object([figures])[0]
        best = self.best.get(kind, 0.0)
        if collapsed(figures, best):
            found = (
                f"catastrophic overfitting: PGD accuracy {figures.pgd:.1%} after {best:.1%}, FGSM {figures.fgsm:.1%}"
            )
            self._raise("collapse", found)
        self.best[kind] = max(best, figures.pgd)

    def out_of_memory(self, error: Exception) -> Setback:
        """The setback, where the run can go on in less memory; anything else is raised again.

        Several processes wait for each other in a step, and one cannot go back alone.
        """
        alone = self.accelerator.num_processes == 1
        if not (self.guards.memory and self.rolls_back and alone and self.updates.thrift.helps(error)):
            raise error
        return Setback("memory", f"out of memory: that of {self.accelerator.device} does not suffice for a step")

    def epoch_ended(self, row: Row, images: int, kept: bool) -> None:
        """Say where the run overfits, once.

        Args:
            row: the epoch's figures, equal in all processes.
            images: how many were held out.
            kept: whether the best epoch's network is the one that is reported.
        """
        epoch, robust = int(row["epoch"]), row["val_pgd"]
        loss = sum(value for name, value in row.items() if name.startswith("loss/"))
        if not (self.guards.overfitting and self.method.defends):
            return
        if self.peak is None or robust > self.peak.robust:
            self.peak = Peak(epoch, robust, loss)
        elif self.peak.overfits(robust, loss, images) and not self.events.said("overfitting"):
            found = (
                f"robust overfitting: PGD accuracy {robust:.1%} after {self.peak.robust:.1%} in epoch "
                f"{self.peak.epoch}, while the training loss fell from {self.peak.loss:.3g} to {loss:.3g}"
            )
            done = f"epoch {self.peak.epoch}'s network is kept" if kept else "--select best would report the best epoch"
            self._tell(Event("overfitting", epoch, int(row["step"]), found, done))

    def may_roll_back(self, setback: Setback) -> bool:
        """Whether the run may go on from its last checkpoint.

        Raises:
            DivergedError: it may not, and its weights are worth nothing.
        """
        able = setback.guard != "collapse" or self.updates.cure.possible
        able = able and self.rolls_back and self.events.rollbacks(setback.guard) < self.guards.rollbacks
        if not able and setback.guard == "finite":
            raise DivergedError(str(setback)) from setback
        return able

    def cure(self, setback: Setback, epoch: int, step: int, back: int) -> None:
        """Change what is needed so that the run, which is back at step `back`, does not go the same way again."""
        number = self.events.rollbacks(setback.guard) + 1
        if setback.guard == "finite":
            self.updates.damping *= self.guards.lr_factor
            change = f"the learning rate is {self.updates.damping:g} of the schedule's"
        elif setback.guard == "memory":
            self.updates.thrift.chosen = True
            change = str(self.updates.thrift)
        else:
            self.updates.cure.level += 1
            change = str(self.updates.cure)
        done = f"back at step {back}, from where {change} (rollback {number} of {self.guards.rollbacks})"
        self._tell(Event(setback.guard, epoch, step, str(setback), done, rolled_back=True))

    def end(self, setback: Setback, epoch: int, step: int, back: int) -> None:
        """End the training, which is back at step `back`, where a collapse could not be cured."""
        self.ended = True
        self._tell(Event(setback.guard, epoch, step, str(setback), f"the training ended with step {back}"))

    def _raise(self, guard: str, found: str | None) -> None:
        found = first_of(found, self.accelerator)
        if found is not None:
            raise Setback(guard, found)

    def _tell(self, event: Event) -> None:
        self.events.all.append(event)
        if self.accelerator.is_main_process:
            self.events.write(self.folder.events)
            warnings.warn(str(event), ToughenWarning, stacklevel=2)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {
            "events": self.events.state_dict(),
            "damping": self.updates.damping,
            "level": self.updates.cure.level,
            "dead": self.dead,
            "thrift": self.updates.thrift.chosen,
            "best": dict(self.best),
            "peak": None if self.peak is None else vars(self.peak).copy(),
            "ended": self.ended,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.events.load_state_dict(state["events"])
        self.updates.damping, self.updates.cure.level = state["damping"], state["level"]
        self.dead = state.get("dead", 0)
        self.updates.thrift.chosen = state.get("thrift", False)
        self.best, self.ended = dict(state["best"]), state["ended"]
        peak = state.get("peak")
        self.peak = None if peak is None else Peak(**peak)
