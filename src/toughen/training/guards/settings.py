"""Which guards a run has, and how far they may go."""

from toughen.numbers import check_number


class Guards:
    """What watches over a training run; a run in which nothing goes wrong is the same without, bit by bit.

    A rollback takes up the last checkpoint again. What the guards did stands in events.json and in the report, and is
    part of the checkpoint.

    Args:
        finite: find NaN and infinity in loss, weights and outputs before they are saved; roll back.
        lr_factor: factor of the learning rate from such a rollback on, above 0 and below 1.
        collapse: find catastrophic overfitting by PGD and FGSM on held-out images; roll back to a larger start.
        memory: take a step that does not fit into memory again in less of it, with the same result.
        overfitting: say where robust accuracy on held-out images falls while the training loss goes on falling.
        dead_attack: say where perturbations raise what they climb no more than noise does.
        check_every: steps between two looks within an epoch: at the attack, and for a collapse where it has at most 3
            steps.
        rollbacks: how often a run may roll back for the same reason; then it stops.

    Raises:
        InputError: a setting out of range.
    """

    def __init__(
        self,
        finite: bool = True,
        lr_factor: float = 0.5,
        collapse: bool = True,
        memory: bool = True,
        overfitting: bool = True,
        dead_attack: bool = True,
        check_every: int = 200,
        rollbacks: int = 3,
    ) -> None:
        check_number("guards.lr_factor", lr_factor, "a factor", above=0, below=1, such="0.5")
        check_number("guards.check_every", check_every, least=1, whole=True)
        check_number("guards.rollbacks", rollbacks, least=0, whole=True)
        self.finite = finite
        self.lr_factor = lr_factor
        self.collapse = collapse
        self.memory = memory
        self.overfitting = overfitting
        self.dead_attack = dead_attack
        self.check_every = check_every
        self.rollbacks = rollbacks


NONE = Guards(finite=False, collapse=False, memory=False, overfitting=False, dead_attack=False)
"""No guard at all."""
