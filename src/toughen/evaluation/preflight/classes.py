"""Labels that do not fit the classes, and classes that no evaluated image belongs to."""

from collections.abc import Iterator

from toughen.errors import InputError
from toughen.evaluation.preflight.finding import Check, Finding
from toughen.evaluation.preflight.subject import Subject

_NAMED = 5


def find(subject: Subject) -> Iterator[Finding]:
    """Classes that the figure says nothing about.

    Raises:
        InputError: a label of any image of the evaluation, however late its batch, that is no class.
    """
    labels, count = subject.evaluated, len(subject.classes)
    low, high = int(labels.min()), int(labels.max())
    if not 0 <= low <= high < count:
        raise InputError(
            f"labels: expected values in 0 .. {count - 1} for {count} classes, got {low} .. {high}; "
            + ("count them from 0" if low == 1 and high == count else "give the classes that the labels are of")
        )
    seen = set(labels.unique().tolist())
    unseen = [name for number, name in enumerate(subject.classes) if number not in seen]
    if unseen:
        named = ", ".join(unseen[:_NAMED]) + (", ..." if len(unseen) > _NAMED else "")
        yield Finding(
            "classes_unseen",
            "note",
            f"{len(unseen)} of {count} classes have no image among the {len(labels):,} evaluated ones ({named}): the "
            "figures say nothing of them; take more images, or a random sample (sample=random)",
            {"unseen": unseen, "n": len(labels)},
        )


CHECK = Check(30, find)
