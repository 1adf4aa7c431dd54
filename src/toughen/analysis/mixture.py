"""Do clean and adversarial images fit the statistics that BatchNorm holds?"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toughen.analysis.explanation import Explained, Explanation, Figure, Insight, Picture
from toughen.analysis.measures.mixture import channel_moments, relative_shift
from toughen.models.mode import evaluating
from toughen.models.split_batchnorm import SplitBatchNorm, branch, is_batch_norm

Moments = tuple[Tensor, Tensor]


class MixtureDistribution(Explanation):
    """How far the distributions are apart that each BatchNorm sees of clean and of adversarial images.

    The distance is Wasserstein-2 between normal distributions of each channel, in standard deviations, root mean
    square over the channels: between clean and adversarial images, and of each from the statistics that the layer
    holds. A joint BatchNorm holds one for both; a split one, looked at as it trained, one for each.
    """

    title = "Mixture distribution"
    source = "Waseda et al. 2025 (AR-AT); Xie et al. 2020 (AdvProp)"

    def explain(self, explained: Explained) -> Insight | None:
        """Distances layer by layer, of the network as it trained where that is known."""
        training = explained.training
        model = explained.model if training is None else training.model
        layers = norms_of(model)
        if not layers:
            return None
        split = any(isinstance(layer, SplitBatchNorm) for layer in layers.values())
        clean = _seen(model, layers, explained.images, explained.batch_size, "clean")
        adversarial = _seen(model, layers, explained.perturbed, explained.batch_size, "adversarial")
        rows = {
            "clean to adversarial": [relative_shift(*clean[name], *adversarial[name]) for name in layers],
            "clean to held": [relative_shift(*clean[name], *_held(layers[name], "clean")) for name in layers],
            "adversarial to held": [
                relative_shift(*adversarial[name], *_held(layers[name], "adversarial")) for name in layers
            ],
        }
        means = {name: float(np.mean(values)) for name, values in rows.items()}
        figures = {
            name.replace(" ", "_"): Figure(
                mean, f"{name}: mean over {len(layers)} layers, in standard deviations", better="low"
            )
            for name, mean in means.items()
        }
        kind = "split" if split else "joint"
        sentence = (
            f"With {kind} BatchNorm clean and adversarial images lie {means['clean to adversarial']:.3g} standard "
            f"deviations apart on average; from what the layers hold {means['clean to held']:.3g} and "
            f"{means['adversarial to held']:.3g}."
        )
        places = list(range(1, len(layers) + 1))
        picture = Picture(
            "lines",
            "Distance layer by layer",
            "The higher, the farther apart; a layer normalises best what lies near the statistics that it holds.",
            {"x": places, "y": rows},
            ("BatchNorm layer", "standard deviations"),
        )
        arrays: dict[str, list[Any]] = {
            "layer": list(layers),
            **{name.replace(" ", "_"): values for name, values in rows.items()},
        }
        return Insight(sentence, figures, [picture], arrays)


def norms_of(model: nn.Module) -> dict[str, nn.Module]:
    """The BatchNorms of a network that hold statistics, by name; a split one counts as one."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = any(
            name.startswith(f"{outer}.") for outer, layer in found.items() if isinstance(layer, SplitBatchNorm)
        )
        keeps = isinstance(module, SplitBatchNorm) or (
            is_batch_norm(module) and getattr(module, "running_mean", None) is not None
        )
        if keeps and not inside:
            found[name] = module
    return found


def _held(layer: nn.Module, side: Any) -> Moments:
    """The statistics that a layer uses for images of this side."""
    own = layer.get_submodule(side) if isinstance(layer, SplitBatchNorm) else layer
    mean, variance = own.get_buffer("running_mean"), own.get_buffer("running_var")
    return mean.double().cpu(), variance.double().cpu()


def _seen(model: nn.Module, layers: dict[str, nn.Module], images: Tensor, size: int, side: Any) -> dict[str, Moments]:
    """Mean and variance of what comes to each layer from all images, through the branch of this side in eval mode."""
    sums: dict[str, list[Tensor]] = {name: [] for name in layers}
    with evaluating(model), branch(model, side), torch.no_grad(), _inputs(layers, sums):
        for part in images.split(size):
            model(part)
    weights = torch.tensor([float(len(part)) for part in images.split(size)], dtype=torch.float64)
    return {name: _joined(torch.stack(found), weights) for name, found in sums.items()}


def _joined(moments: Tensor, weights: Tensor) -> Moments:
    """Mean and variance of all images from those of batches, B x 2 x C."""
    shares = (weights / weights.sum())[:, None]
    mean = (shares * moments[:, 0]).sum(dim=0)
    return mean, (shares * (moments[:, 1] + (moments[:, 0] - mean).square())).sum(dim=0)


@contextmanager
def _inputs(layers: dict[str, nn.Module], sums: dict[str, list[Tensor]]) -> Iterator[None]:
    """Keep the moments of what each layer is given; of several calls in a pass the last."""

    def keep(name: str, layer: nn.Module, inputs: Any) -> None:
        sums[name].append(torch.stack(channel_moments(inputs[0])).cpu())

    hooks = [layer.register_forward_pre_hook(partial(keep, name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
