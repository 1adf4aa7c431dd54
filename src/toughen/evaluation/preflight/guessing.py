"""A model that is no better than a guess: weights or labels of something else."""

from collections.abc import Iterator

import scipy
import torch
from torch import Tensor

from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.finding import Finding, PreflightCheck, share

# With fewer images a good model may look like a guess.
_ENOUGH = 50


def _find(context: PreflightContext) -> Iterator[Finding]:
    """The same class for every image, or an accuracy that guessing reaches as well (one-sided binomial test, 5 %)."""
    n, count = len(context), len(context.classes)
    if n < _ENOUGH:
        return
    predictions = context.predicted(context.logits)
    right = int((predictions == context.labels).sum())
    figures = {"right": right, "n": n, "chance": 1 / count}
    if len(predictions.unique()) == 1 and len(context.labels.unique()) > 1 and int(predictions[0]) >= 0:
        yield Finding(
            "constant_predictions",
            "doubt",
            f"the model says {context.classes[int(predictions[0])]!r} to each of {n} images, which are of "
            f"{len(context.labels.unique())} classes: check its weights, and the range of the images it was trained on",
            figures,
        )
    elif scipy.stats.binomtest(right, n, 1 / count, alternative="greater").pvalue > 0.05:
        yield Finding(
            "chance_level",
            "doubt",
            f"{right} of {n} clean images are right ({share(right / n)}), which guessing among {count} classes reaches "
            f"too ({share(1 / count)}): {_likely(predictions, context.labels, count)}",
            figures,
        )


def _likely(predictions: Tensor, labels: Tensor, count: int) -> str:
    """The reason: another order of the classes, where one explains the predictions, else the weights."""
    known = predictions >= 0
    table = torch.zeros(count, count, dtype=torch.int64)
    places = (labels[known].cpu(), predictions[known].cpu())
    table.index_put_(places, torch.ones(len(places[0]), dtype=torch.int64), accumulate=True)
    rows, columns = scipy.optimize.linear_sum_assignment(table.numpy(), maximize=True)
    matched = int(table[rows, columns].sum())
    # With few images a class, some order always explains much.
    if len(labels) >= 5 * count and matched > 2 / 3 * len(labels):
        return (
            f"with the classes in another order {matched} would be right, so the model's order is not the data's; "
            "bring the classes (such as the names of an image folder) into the order of the training"
        )
    return "check that the weights belong to the network, and the classes to the data"


CHECK = PreflightCheck(80, _find)
