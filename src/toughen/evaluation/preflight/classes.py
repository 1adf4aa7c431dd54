"""Labels that do not fit the classes, classes that no evaluated image belongs to, and a sample unlike its set."""

from collections.abc import Iterator

import numpy as np
import scipy

from toughen.errors import InputError
from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.finding import Finding, PreflightCheck, share

_NAMED = 5
_CHANCE = 1e-4
"""How seldom a sample drawn at random is taken for one that is unlike its set."""


def _find(context: PreflightContext) -> Iterator[Finding]:
    """Classes that the figure says nothing about.

    Raises:
        InputError: a label of any image of the evaluation, however late its batch, that is no class.
    """
    labels, count = context.evaluated, len(context.classes)
    low, high = int(labels.min()), int(labels.max())
    if not 0 <= low <= high < count:
        raise InputError(
            f"labels: expected values in 0 .. {count - 1} for {count} classes, got {low} .. {high}; "
            + ("count them from 0" if low == 1 and high == count else "give the classes that the labels are of")
        )
    seen = set(labels.unique().tolist())
    unseen = [name for number, name in enumerate(context.classes) if number not in seen]
    if unseen:
        named = ", ".join(unseen[:_NAMED]) + (", ..." if len(unseen) > _NAMED else "")
        yield Finding(
            "classes_unseen",
            "note",
            f"{len(unseen)} of {count} classes have no image among the {len(labels):,} evaluated ones ({named}): the "
            "figures say nothing of them; take more images, or a sample drawn by class (sample=by_class)",
            {"unseen": unseen, "n": len(labels)},
        )
    yield from _unlike(context)


def _unlike(context: PreflightContext) -> Iterator[Finding]:
    """A sample of whose classes one has a number of images that chance would not draw from the set.

    For each class of share p in the set, the probability of so many among n, or more, and of so many or fewer, by the
    binomial distribution, whose tails are longer than those of a draw without replacement; times two for each class
    (Bonferroni), so that no number of classes and no rare one raises the alarm by chance.
    """
    count, n, total = len(context.classes), len(context.evaluated), len(context.split)
    if n == total:
        return
    inside = context.split[(context.split >= 0) & (context.split < count)]  # the labels of others are not judged
    of_set, found = (labels.bincount(minlength=count).numpy() for labels in (inside, context.evaluated))
    shares = of_set / len(inside)
    tails = np.minimum(scipy.stats.binom.sf(found - 1, n, shares), scipy.stats.binom.cdf(found, n, shares))
    p = 2 * count * float(tails.min())
    if p < _CHANCE:
        place = int(tails.argmin())
        yield Finding(
            "sample_unlike_set",
            "doubt",
            f"the {n:,} evaluated images are not like the {total:,} that they stand for: "
            f"{share(found[place] / n)} are of class {context.classes[place]}, of all images {share(shares[place])}; "
            "the data probably lie in the order of their classes. Take all images, or a sample drawn by class "
            "(sample=by_class)",
            {"n": n, "n_total": total, "evaluated": found.tolist(), "set": of_set.tolist(), "p": p},
        )


CHECK = PreflightCheck(30, _find)
