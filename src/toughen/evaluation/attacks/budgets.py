"""The attacks of an evaluation, by how much computing it may take."""

from collections.abc import Callable
from typing import Literal, get_args

from toughen.attacks import FGSM, PGD
from toughen.errors import InputError, did_you_mean
from toughen.evaluation.attacks.named import Ensemble, Gradient, NamedAttack, Square
from toughen.evaluation.attacks.search import search
from toughen.losses import LabelledLoss
from toughen.threat import Norm

Budget = Literal["quick", "standard", "thorough"]
"""quick: FGSM, and PGD-20 on the margin with 5 restarts, in l1 APGD-20; standard: FGSM, PGD-20 and AutoAttack standard;
thorough: standard, then PGD-100 with 10 restarts on cross-entropy, margin and DLR, and Square with 20,000 queries, each
of these on the images that all before it left."""

_FGSM = Gradient("fgsm", FGSM())


def _quick(num_classes: int, norm: Norm) -> tuple[NamedAttack, ...]:
    return (_FGSM, search(norm, steps=20, restarts=5, survivors_only=False))


def _standard(num_classes: int, norm: Norm) -> tuple[NamedAttack, ...]:
    return (_FGSM, Gradient("pgd20", PGD(steps=20, keep_best=True)), Ensemble(num_classes))


def _thorough(num_classes: int, norm: Norm) -> tuple[NamedAttack, ...]:
    # A thousand steps an image: spent only where nothing before has succeeded, which leaves the worst case, all that
    # this budget is for, as it is. The difference of logits ratio needs three logits.
    losses: tuple[LabelledLoss, ...] = ("ce", "margin", "dlr") if num_classes > 2 else ("ce", "margin")
    return (
        *_standard(num_classes, norm),
        *(
            Gradient(f"pgd100_{loss}", PGD(steps=100, restarts=10, keep_best=True, loss=loss), survivors_only=True)
            for loss in losses
        ),
        Square(),
    )


_BUDGETS: dict[Budget, Callable[[int, Norm], tuple[NamedAttack, ...]]] = {
    "quick": _quick,
    "standard": _standard,
    "thorough": _thorough,
}


def attacks_of(budget: Budget, num_classes: int, norm: Norm) -> tuple[NamedAttack, ...]:
    """The attacks of a budget, in the order in which they run.

    Raises:
        InputError: an unknown budget.

    >>> [attack.name for attack in attacks_of("standard", 10, "linf")]
    ['fgsm', 'pgd20', 'autoattack']
    """
    if budget not in get_args(Budget):
        raise InputError(f"budget: unknown {budget!r}; {did_you_mean(str(budget), get_args(Budget))}")
    return _BUDGETS[budget](num_classes, norm)
