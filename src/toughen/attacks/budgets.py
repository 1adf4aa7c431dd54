"""The attacks of an evaluation, by how much computing it may take."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from toughen.attacks.apgd import APGD, PGD_IS_WEAK
from toughen.attacks.autoattack import AutoAttack
from toughen.attacks.base import AUDIT, FURTHER, PlannedAttack
from toughen.attacks.eot import in_the_mean
from toughen.attacks.malt import MALT
from toughen.attacks.pgd import FGSM, PGD
from toughen.attacks.spsa import SPSA
from toughen.attacks.square import Square
from toughen.errors import InputError, did_you_mean
from toughen.losses import LabelledLoss
from toughen.threat import Norm

Budget = Literal["quick", "fast", "standard", "thorough", "none"]
"""quick: FGSM, and PGD-20 on the margin with 5 restarts, in l1 APGD-20; fast: FGSM, PGD-20 on the margin and MALT, then
AutoAttack on a sample of what these left (see `audit_attack`); standard: FGSM, PGD-20 and AutoAttack standard;
thorough: standard, then PGD-100 with 10 restarts on cross-entropy, margin and DLR, and Square with 20,000 queries, each
of these on the images that all before it left; none: only attacks that are named beside it."""

_FGSM = PlannedAttack("fgsm", FGSM())


def _quick(num_classes: int, norm: Norm) -> tuple[PlannedAttack, ...]:
    return (_FGSM, search(norm, steps=20, restarts=5, survivors_only=False))


def _fast(num_classes: int, norm: Norm) -> tuple[PlannedAttack, ...]:
    return (_FGSM, search(norm, steps=20, restarts=1, survivors_only=False), PlannedAttack("malt", MALT(), True))


def _standard(num_classes: int, norm: Norm) -> tuple[PlannedAttack, ...]:
    return (
        _FGSM,
        PlannedAttack("pgd20", PGD(steps=20, keep_best=True)),
        PlannedAttack("autoattack", AutoAttack(num_classes)),
    )


def _thorough(num_classes: int, norm: Norm) -> tuple[PlannedAttack, ...]:
    # A thousand steps an image: spent only where nothing before has succeeded, which leaves the worst case, all that
    # this budget is for, as it is. The difference of logits ratio needs three logits.
    losses: tuple[LabelledLoss, ...] = ("ce", "margin", "dlr") if num_classes > 2 else ("ce", "margin")
    return (
        *_standard(num_classes, norm),
        *(
            PlannedAttack(f"pgd100_{loss}", PGD(steps=100, restarts=10, keep_best=True, loss=loss), survivors_only=True)
            for loss in losses
        ),
        PlannedAttack("square", Square(queries=20_000), survivors_only=True),
    )


_BUDGETS: dict[Budget, Callable[[int, Norm], tuple[PlannedAttack, ...]]] = {
    "quick": _quick,
    "fast": _fast,
    "standard": _standard,
    "thorough": _thorough,
    "none": lambda num_classes, norm: (),
}


def attacks_of(budget: Budget, num_classes: int, norm: Norm) -> tuple[PlannedAttack, ...]:
    """The attacks of a budget, in the order in which they run.

    Raises:
        InputError: an unknown budget.

    >>> [attack.name for attack in attacks_of("standard", 10, "linf")]
    ['fgsm', 'pgd20', 'autoattack']
    """
    if budget not in get_args(Budget):
        raise InputError(f"budget: unknown {budget!r}; {did_you_mean(str(budget), get_args(Budget))}")
    return _BUDGETS[budget](num_classes, norm)


def search(norm: Norm, steps: int, restarts: int, survivors_only: bool = True) -> PlannedAttack:
    """PGD on the margin loss; `APGD` where `PGD_IS_WEAK`.

    >>> search("linf", 20, 2).name, search("l1", 20, 2).name
    ('pgd20_margin', 'apgd20')
    """
    if norm in PGD_IS_WEAK:
        return PlannedAttack(f"apgd{steps}", APGD(steps, restarts), survivors_only)
    attack = PGD(steps, restarts=restarts, keep_best=True, loss="margin")
    return PlannedAttack(f"pgd{steps}_margin", attack, survivors_only)


def further_attacks(protocol: Mapping[str, Any]) -> tuple[PlannedAttack, ...]:
    """What follows in an evaluation of this protocol, each on the images that all before it left."""
    attacks = (PlannedAttack(name, each, True) for name, each in zip(FURTHER, (Square(1000), SPSA()), strict=True))
    return in_the_mean(tuple(attacks), int(protocol["eot"]))


def audit_attack(num_classes: int) -> PlannedAttack:
    """AutoAttack, for images that all attacks before it left."""
    return PlannedAttack(AUDIT, AutoAttack(num_classes), survivors_only=True)
