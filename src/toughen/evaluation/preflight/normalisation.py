"""Normalisation outside the model: the network was trained on rescaled images and is shown those in [0, 1]."""

from collections import Counter
from collections.abc import Iterator

from torch import Tensor

from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.finding import Finding, PreflightCheck, share
from toughen.evaluation.statistics.intervals import mcnemar
from toughen.models.build import Normalize

# Statistics that weights are usually trained with, by what they do to an image in [0, 1].
_USUAL: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "values from 0 to 255": ((0.0,), (1 / 255,)),
    "values from -1 to 1": ((0.5,), (0.5,)),
    "ImageNet's mean and deviation": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10's mean and deviation": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "MNIST's mean and deviation": ((0.1307,), (0.3081,)),
}
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
    rescalings = _rescalings(context.images)
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
        "training; `toughen evaluate --weights` reads weights saved from it, too",
        {"n": len(before), "best": name, "accuracy": accuracies},
    )


def _rescalings(images: Tensor) -> dict[str, tuple[list[float], list[float]]]:
    channels = images.shape[1]
    found = {
        name: tuple(list(values) * (channels // len(values)) for values in statistics)
        for name, statistics in _USUAL.items()
        if len(statistics[0]) in (1, channels)
    }
    own = images.mean(dim=(0, 2, 3)).tolist(), images.std(dim=(0, 2, 3)).clamp_min(1e-3).tolist()
    return {name: (mean, std) for name, (mean, std) in found.items()} | {"the data's own mean and deviation": own}


def _right_after(context: PreflightContext, mean: list[float], std: list[float]) -> Tensor:
    rescaled = Normalize(mean, std).to(context.images.device)(context.images)
    return context.classified(context.outputs(rescaled)).cpu()


CHECK = PreflightCheck(70, _find)
