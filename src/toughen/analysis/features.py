"""Do the features separate the classes, and do they stay as they are under attack?"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from toughen.analysis.explanation import (
    Explained,
    Explanation,
    Figure,
    Insight,
    Picture,
    interval_text,
    resampled,
    share_of,
)
from toughen.analysis.measures.features import (
    disentanglement,
    fisher_ratio,
    intrinsic_dimension,
    linear_cka,
    usefulness,
)

FLOOR = 0.1
"""A correlation with a class that a feature of hundreds of images does not have by chance."""


class Features(Explanation):
    """Separation of the classes, usefulness, disentanglement, likeness and dimension of the features of the last layer.

    A probe, a logistic regression, is fitted to the clean features of half of the images and judged on the other half,
    clean and under attack; its weights are the importances of the disentanglement score. ARR's paper argues by
    features that are more disentangled and interpretable.
    """

    title = "Features"
    source = (
        "Adversarial Robustness Regularization (ARR); Ilyas et al. 2019 (useful features); "
        "Eastwood & Williams 2018 (disentanglement); Kornblith et al. 2019 (CKA); Facco et al. 2017 (dimension)"
    )

    def explain(self, explained: Explained) -> Insight | None:
        """Figures of the features that the last linear layer is given."""
        found = features_of(explained)
        if found is None:
            return None
        clean, adversarial = found
        labels = explained.labels.cpu()
        if len(labels[: len(labels) // 2].unique()) < 2:
            return None  # too few images to fit a probe to
        rho, gamma = usefulness(clean, labels, adversarial)
        figures = {
            **_separation(clean, adversarial, labels, explained.generator()),
            **_probed(clean, adversarial, labels),
            **_dimensions(clean, adversarial),
        }
        useful = rho > FLOOR
        if useful.any():
            says = f"of {int(useful.sum())} useful features, useful under attack"
            figures["useful_under_attack"] = share_of(gamma[useful] > FLOOR, says, "high", over="features")
        sentence = (
            f"A linear probe of the features is right for {interval_text(figures['probe_clean'])} of the images and "
            f"for {interval_text(figures['probe_adversarial'])} under attack; clean and adversarial features have CKA "
            f"{interval_text(figures['cka_clean_adversarial'])}."
        )
        sees = "A point an image, a number or name the middle of its class: classes that lie apart are told apart."
        plane = PCA(n_components=2, random_state=explained.seed).fit(clean.numpy())
        pictures = [
            _on_plane(plane, each, labels, explained.classes, f"{name} features on the clean ones' plane", sees)
            for name, each in (("Clean", clean), ("Adversarial", adversarial))
        ]
        arrays = {"feature": list(range(len(rho))), "rho": rho.tolist(), "gamma": gamma.tolist()}
        return Insight(sentence, figures, pictures, arrays)


def _separation(clean: Tensor, adversarial: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Figure]:
    """Class separation and likeness, with intervals over images."""

    def figure(says: str, statistic: Callable[[Tensor], float]) -> Figure:
        return resampled(statistic, len(labels), says, generator, "high")

    return {
        "fisher_clean": figure(
            "scatter between over within classes, clean", lambda i: fisher_ratio(clean[i], labels[i])
        ),
        "fisher_adversarial": figure("the same, adversarial", lambda i: fisher_ratio(adversarial[i], labels[i])),
        "cka_clean_adversarial": figure("CKA, clean to adversarial", lambda i: linear_cka(clean[i], adversarial[i])),
    }


def _probed(clean: Tensor, adversarial: Tensor, labels: Tensor) -> dict[str, Figure]:
    """What a linear probe is right on, and how far its features serve one class each."""
    weights, (right, right_adversarial) = _probe(clean, adversarial, labels)
    score = disentanglement(torch.tensor(np.abs(weights).T))
    return {
        "probe_clean": share_of(right, "accuracy of a linear probe, clean", "high"),
        "probe_adversarial": share_of(right_adversarial, "the same under attack", "high"),
        "disentanglement": Figure(score, "DCI disentanglement, classes as factors", n=clean.shape[1], better="high"),
    }


def _dimensions(clean: Tensor, adversarial: Tensor) -> dict[str, Figure]:
    """Intrinsic dimensions; constant features have none."""
    figures = {}
    for name, each in (("clean", clean), ("adversarial", adversarial)):
        with suppress(ValueError):
            says = f"intrinsic dimension, {name}"
            figures[f"dimension_{name}"] = Figure(intrinsic_dimension(each), says, n=len(each))
    return figures


def _on_plane(plane: PCA, features: Tensor, labels: Tensor, classes: Sequence[str], title: str, sees: str) -> Picture:
    x, y = plane.transform(features.numpy()).T
    data = {"x": x.tolist(), "y": y.tolist(), "label": labels.tolist(), "names": list(classes)}
    return Picture("points", title, sees, data, ("first principal component", "second"))


def features_of(explained: Explained) -> tuple[Tensor, Tensor] | None:
    """What the last linear layer is given of the images and of the perturbed ones, N x D each, on the CPU.

    None where the network has no such layer, or runs it on something else than a row an image.
    """
    layers = [module for module in explained.model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        return None
    found: list[Tensor] = []
    with _given(layers[-1]) as kept:
        for side in (explained.images, explained.perturbed):
            rows = []
            with torch.no_grad():
                for part in side.split(explained.batch_size):
                    explained.model(part)
                    if not kept or kept[-1].ndim != 2 or len(kept[-1]) != len(part):
                        return None
                    rows.append(kept[-1].cpu())
            found.append(torch.cat(rows))
    return found[0], found[1]


@contextmanager
def _given(layer: nn.Module) -> Iterator[list[Tensor]]:
    kept: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kept[:] = [inputs[0].detach()]

    hook = layer.register_forward_pre_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()


def _probe(clean: Tensor, adversarial: Tensor, labels: Tensor) -> tuple[np.ndarray, list[np.ndarray]]:
    """Weights of a logistic regression on half of the clean features, K x D, and where it is right on the other half.

    Images lie in a random order. With two classes the weights are of the second against the first, and its opposite.
    """
    half = len(labels) // 2
    scaler = StandardScaler().fit(clean[:half])
    regression = LogisticRegression(C=0.1, max_iter=300).fit(scaler.transform(clean[:half]), labels[:half])
    held = [regression.predict(scaler.transform(each[half:])) == labels[half:].numpy() for each in (clean, adversarial)]
    weights = regression.coef_
    return (np.concatenate([-weights, weights]) if len(weights) == 1 else weights), held
