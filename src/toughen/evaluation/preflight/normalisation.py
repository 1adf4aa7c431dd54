"""Normalisation outside the model: the network was trained on rescaled images and is shown those in [0, 1]."""

from collections import Counter
from collections.abc import Iterator

from torch import Tensor

from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.finding import Finding, PreflightCheck, share
from toughen.evaluation.statistics.intervals import mcnemar
from toughen.models.build import Normalize
from toughen.models.normalisation import usual_statistics

_GAIN = 0.05
_LEVEL = 0.01


def _find(context: PreflightContext) -> Iterator[Finding]:
    """A rescaling under which clearly more images are right than as they are.

    Clearly: at least 5 points more, and p < 0.01 in exact McNemar tests against the images as they are (Bonferroni over
    the rescalings) and against naming the most frequent class.
    """
    before = context.classified(context.logits).cpu()
    if float(before.float().mean()) > 1 - _GAIN:
        return
    rescalings = usual_statistics(context.images)
    after = {name: _right_after(context, *statistics) for name, statistics in rescalings.items()}
    name = max(after, key=lambda key: int(after[key].sum()))
    gain = float(after[name].float().mean() - before.float().mean())
    if gain < _GAIN or min(1.0, mcnemar(before, after[name]) * len(after)) >= _LEVEL:
        return
    labels = context.labels.cpu()
    constant = labels == Counter(labels.tolist()).most_common(1)[0][0]
    if int(after[name].sum()) <= int(constant.sum()) or mcnemar(constant, after[name]) >= _LEVEL:
        return
    accuracies = {key: float(held.float().mean()) for key, held in {"as given": before, **after}.items()}
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in rescalings[name])
    yield Finding(
        "normalisation",
        "doubt",
        f"{share(accuracies['as given'])} of {len(before)} clean images are right as they are, in [0, 1], and "
        f"{share(accuracies[name])} after rescaling ({name}): the network was trained on rescaled images. "
        f"Normalisation is a layer of the model here, so that eps keeps its units: evaluate "
        f"Classifier(Normalize([{mean}], [{std}]), network), both from toughen.models, with the figures of the "
        "training; on the command line, that is --normalize",
        {"n": len(before), "best": name, "accuracy": accuracies},
    )


def _right_after(context: PreflightContext, mean: list[float], std: list[float]) -> Tensor:
    rescaled = Normalize(mean, std).to(context.images.device)(context.images)
    return context.classified(context.outputs(rescaled)).cpu()


CHECK = PreflightCheck(70, _find)
