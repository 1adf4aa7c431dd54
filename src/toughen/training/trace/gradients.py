"""Whether the terms of the loss pull the weights apart while they are trained."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from toughen.analysis.measures.conflict import cosines_by_group, layer_groups
from toughen.batch import Batch
from toughen.errors import ToughenWarning
from toughen.hardware.speed import FlopCounter
from toughen.methods import Method, Perturbed, weighted
from toughen.models.mode import buffers_kept
from toughen.random_state import own_random_state
from toughen.training.log import Row

Cosines = dict[str, dict[str, float]]
"""For each pair of terms, named `first, second`, the cosine by groups of layers and in "all"."""

AN_EPOCH = 8
"""Batches of an epoch that are looked at, at most."""
SHARE = 0.01
"""Of the training's floating-point operations; as time it is somewhat more (see benchmarks/trace.py)."""


def term_gradients(
    model: nn.Module, method: Method, batch: Batch, perturbed: Perturbed
) -> dict[str, dict[str, Tensor | None]]:
    """The gradient of each weighted term of the method's loss with respect to the network's parameters.

    In the mode that the network is in. Its statistics, what the method keeps and every random state stay as they were.
    """
    parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
    with _left_alone(model, method), torch.enable_grad():
        terms = weighted(method.terms(model, batch, perturbed), batch)
        losses = {name: term.weight * term.values.mean() for name, term in terms.items()}
        return {
            name: dict(
                zip(
                    parameters,
                    torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True),
                    strict=True,
                )
            )
            for name, loss in losses.items()
            if loss.requires_grad
        }


@contextmanager
def _left_alone(model: nn.Module, method: Method) -> Iterator[None]:
    generator = method.generator
    drawn = None if generator is None else generator.get_state()
    # Memories of every image are large, and change in `after_loss` alone.
    with buffers_kept(model), buffers_kept(method, but=method.memories), own_random_state():
        try:
            yield
        finally:
            if generator is not None and drawn is not None:
                generator.set_state(drawn)


def term_cosines(gradients: Mapping[str, Mapping[str, Tensor | None]]) -> Cosines:
    """Cosines of each pair of gradients, by layers and in all; a gradient that reaches no weight is left out."""
    reaching = {
        name: each for name, each in gradients.items() if any(g is not None and bool(g.any()) for g in each.values())
    }
    groups = layer_groups(next(iter(reaching.values()), {}))
    return {
        f"{first}, {second}": cosines_by_group(reaching[first], reaching[second], groups)
        for first, second in combinations(reaching, 2)
    }


class GradientTrace:
    """Cosines between the gradients of the terms, on a few batches of each epoch.

    Which batches these are follows from their place in the run and from counted operations, not from the clock: the
    same run has the same ones. Of several processes each looks at its own images; those of the first one are kept.

    Args:
        model: the network that is trained.
        method: its method.
        per_epoch: steps of an epoch.
        autocast: the precision of the run's passes.
    """

    def __init__(
        self, model: nn.Module, method: Method, per_epoch: int, autocast: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self.model, self.method, self.per_epoch, self.autocast = model, method, per_epoch, autocast
        self.cost, self.step = 0.0, 1.0
        self.found: list[Cosines] = []
        self.due, self.alone = False, False

    def aim(self, place: int, flops: float | None) -> None:
        """Say which step comes next.

        Args:
            place: steps of the whole run that are done.
            flops: that an image costs in such a step; None where they are counted in it.
        """
        self.due = False
        if flops is not None and not self.alone:
            self.step = max(flops, 1.0)
            # The first look tells what a look costs, in steps: images may grow.
            spacing = max(math.ceil(self.per_epoch / AN_EPOCH), math.ceil(self.cost / SHARE))
            self.due = not self.cost or place % spacing == 0

    def look(self, batch: Batch, perturbed: Perturbed) -> None:
        """Take the cosines of this step, if it is one of those that are looked at."""
        if not self.due:
            return
        # Compiled code would not let its graph be gone through twice; a pass that is watched runs as it stands.
        watched = self.model.register_forward_pre_hook(lambda *_: None)
        try:
            with FlopCounter() as counter, self.autocast():
                gradients = term_gradients(self.model, self.method, batch, perturbed)
                found = term_cosines(gradients)
        finally:
            watched.remove()
        self.cost = self.cost or max(1e-9, counter.flops / len(batch) / self.step)
        # A term may have no gradient for now, as a distance to the clean output where the attack has yet to begin.
        self.alone = len(gradients) < 2
        if self.alone:
            warnings.warn(
                f"--trace gradients: the loss of {type(self.method).__name__} has one term that reaches the network, "
                "so nothing can conflict, and nothing is traced",
                ToughenWarning,
                stacklevel=2,
            )
        if found:
            self.found.append(found)

    def end_epoch(self) -> Row:
        """The epoch's figures: mean cosine and share below 0 of each pair, mean by layers; nothing without a look."""
        row: Row = {}
        for pair in dict.fromkeys(pair for each in self.found for pair in each):
            of_pair = [each[pair] for each in self.found if pair in each]
            row |= {f"batches/{pair}": float(len(of_pair))}
            for group in dict.fromkeys(group for each in of_pair for group in each):
                cosines = [each[group] for each in of_pair if math.isfinite(each.get(group, math.nan))]
                name = pair if group == "all" else f"{pair}/{group}"
                if cosines:
                    row[f"cosine/{name}"] = sum(cosines) / len(cosines)
                if cosines and group == "all":
                    row[f"conflicting/{pair}"] = sum(cosine < 0 for cosine in cosines) / len(cosines)
        self.found = []
        return row

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"cost": self.cost, "found": list(self.found), "alone": self.alone}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        # A run of an earlier version looks anew at what a look costs.
        self.cost, self.found, self.alone = state.get("cost", 0.0), list(state["found"]), state["alone"]
