"""What a run's guards know and decide, between the loop, which asks them, and the guards themselves."""

import warnings
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn

from toughen.errors import DivergedError, ToughenWarning
from toughen.run import RunFolder
from toughen.training.guards.events import Event, Events
from toughen.training.guards.finite import bad_outputs, bad_weights
from toughen.training.guards.settings import Guards
from toughen.training.log import EpochSums
from toughen.training.stopping import first_of
from toughen.training.updates import Updates
from toughen.training.validation import Validation


class Watch:
    """The guards of one run.

    Args:
        guards: which there are; None for none.
        updates: the run's, whose weights are watched and whose learning rate is lowered.
        folder: the one that the run writes into.
        accelerator: device and precision; of several processes all ask together, and find the same.
    """

    def __init__(self, guards: Guards | None, updates: Updates, folder: RunFolder, accelerator: Accelerator) -> None:
        self.guards, self.updates, self.folder, self.accelerator = guards, updates, folder, accelerator
        self.events = Events()

    @property
    def rolls_back(self) -> bool:
        """Whether the run may roll back at all, for which it needs a checkpoint from its start on."""
        return self.guards is not None and self.guards.finite and self.guards.rollbacks > 0

    def check(self, sums: EpochSums, model: nn.Module | None = None, images: Tensor | None = None) -> None:
        """Raise where loss or weights have gone wrong, or the outputs of a model that is going to be saved.

        Raises:
            DivergedError: in all processes, with what one of them has found.
        """
        found = sums.bad_term()
        if self.guards is not None and self.guards.finite:
            found = found or bad_weights(self.updates.step)
            if found is None and model is not None and images is not None:
                with self.accelerator.autocast():
                    found = bad_outputs(model, images)
        self._raise(found)

    def validated(self, figures: Validation) -> None:
        """Raise where validation shows that something has gone wrong.

        Raises:
            DivergedError: in all processes, with what one of them has found.
        """
        if self.guards is not None and self.guards.finite:
            self._raise(None if figures.finite else "outputs became NaN or infinite on the validation images")

    def cure(self, error: DivergedError, epoch: int, step: int, back: int) -> None:
        """Change what is needed so that the run, which is back at step `back`, does not go the same way again."""
        assert self.guards is not None
        number = self.events.rollbacks("finite") + 1
        self.updates.damping *= self.guards.lr_factor
        done = (
            f"went back to step {back}, from where the learning rate is {self.updates.damping:g} of the schedule's "
            f"(rollback {number} of {self.guards.rollbacks})"
        )
        self._tell(Event("finite", epoch, step, str(error), done, rolled_back=True))

    def may_roll_back(self) -> bool:
        """Whether the run has rolled back less often than it may."""
        assert self.guards is not None
        return self.rolls_back and self.events.rollbacks("finite") < self.guards.rollbacks

    def _raise(self, found: str | None) -> None:
        found = first_of(found, self.accelerator)
        if found is not None:
            raise DivergedError(found)

    def _tell(self, event: Event) -> None:
        self.events.all.append(event)
        if self.accelerator.is_main_process:
            self.events.write(self.folder.events)
            warnings.warn(str(event), ToughenWarning, stacklevel=2)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"events": self.events.state_dict(), "damping": self.updates.damping}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.events.load_state_dict(state["events"])
        self.updates.damping = state["damping"]
