"""How much the images count while they are trained on: in the method's own loss, and by the published weights."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args

import torch
from torch import Tensor, nn

from toughen.analysis.measures.images import Weighting, weights_by
from toughen.batch import Batch
from toughen.methods import Perturbed, Terms
from toughen.models.outputs import logits_in
from toughen.models.passes import rows_of
from toughen.training.log import Row

PUBLISHED: tuple[Weighting, ...] = tuple(name for name in get_args(Weighting) if name != "uniform")
WEIGHTS = ("loss", *PUBLISHED)
"""The image's part of the method's loss, all terms together; and what published methods would weigh it by."""
FOLLOWED = 100
"""Images that are followed one by one."""
QUANTILES = (0.1, 0.5, 0.9)


class WeightTrace:
    """What each image counts, as the training's own passes see it: they cost no further pass.

    The published weights are taken from the logits that the method computes in its loss, of its adversarial images and,
    where it computes them, of the clean ones. All images of the epoch are summed up; a fixed sample is followed.

    Args:
        model: the network that is trained.
        sample: places in the training set of the images that are followed.
        labels: theirs.
        device: the run's.
        over_processes: sums a tensor over all processes.
    """

    def __init__(
        self,
        model: nn.Module,
        sample: Tensor,
        labels: Tensor,
        device: torch.device,
        over_processes: Callable[[Tensor], Tensor] = lambda values: values,
    ) -> None:
        self.model, self.sample, self.labels, self.device = model, sample, labels, device
        self.over_processes = over_processes
        self._places = sample.to(device)
        self._begin()

    def _begin(self) -> None:
        # Of each weight: images, those that are broken, sum, sum of squares, sum over the broken ones.
        self.sums = torch.zeros(len(WEIGHTS), 5, device=self.device)
        # Of each followed image: sum of each weight, how often it was known, how often it was broken and told.
        self.each = torch.zeros(len(self.sample), 2 * len(WEIGHTS) + 2, device=self.device)

    @contextmanager
    def watching(self, batch: Batch, perturbed: Perturbed) -> Iterator[Callable[[Terms], None]]:
        """See what the network gives for these images inside; gives what is to be told the terms of their loss."""
        seen: dict[str, Tensor] = {}

        def tell(terms: Terms) -> None:
            self.add(batch, terms, seen)

        with _outputs_seen(self.model, {"perturbed": perturbed.images, "clean": batch.images}, seen):
            yield tell

    @torch.no_grad()
    def add(self, batch: Batch, terms: Terms, seen: Mapping[str, Tensor]) -> None:
        """Take in a step.

        Args:
            batch: its images.
            terms: of their loss.
            seen: logits of the "perturbed" images and, where they are known, of the "clean" ones.
        """
        labels, known = batch.labels, {"loss": _parts(terms, len(batch))}
        if "perturbed" in seen:
            clean = seen.get("clean", seen["perturbed"])
            names = PUBLISHED if "clean" in seen else tuple(name for name in PUBLISHED if name not in ("cow", "mart"))
            known |= {name: weights_by(name, labels, seen["perturbed"], clean) for name in names}
        broken = torch.full((len(batch),), math.nan, device=self.device)
        if "perturbed" in seen:
            broken = (seen["perturbed"].argmax(dim=1) != labels).float()
        here = torch.zeros(len(batch), len(self.sample), device=self.device)
        if batch.indices is not None:
            here = (batch.indices[:, None] == self._places).float()
        one = torch.ones(len(batch), device=self.device)
        for place, name in enumerate(WEIGHTS):
            if name in known:
                w = known[name].float()
                columns = torch.stack([one, broken, w, w.square(), w * broken], dim=1)
                self.sums[place] += columns.sum(dim=0)
                self.each[:, 2 * place : 2 * place + 2] += here.T @ torch.stack([w, one], dim=1)
        self.each[:, -2:] += here.T @ torch.stack([broken, one], dim=1)

    def end_epoch(self) -> tuple[Row, Tensor]:
        """The epoch's figures, and each followed image's weights by `WEIGHTS` and whether it was broken, (n, W + 1).

        These weights are in units of the epoch's mean; not a number where a weight, or the image, was not seen.
        """
        sums, each = (self.over_processes(tensor).double().cpu() for tensor in (self.sums, self.each))
        self._begin()
        row: Row = {}
        columns = []
        for place, name in enumerate(WEIGHTS):
            count, broken, total, squares, on_broken = sums[place].tolist()
            own = each[:, 2 * place] / each[:, 2 * place + 1] / (total / count if count and total else math.nan)
            columns.append(own)
            if not count or not total:
                continue
            row["broken"] = broken / count
            row[f"effective_share/{name}"] = total**2 / (count * squares)
            row[f"on_broken/{name}"] = on_broken / total
            if not own.isnan().all():
                quantiles = torch.nanquantile(own, torch.tensor(QUANTILES, dtype=own.dtype)).tolist()
                row |= {f"q{100 * q:.0f}/{name}": x for q, x in zip(QUANTILES, quantiles, strict=True)}
        columns.append(each[:, -2] / each[:, -1])
        return {name: x for name, x in row.items() if math.isfinite(x)}, torch.stack(columns, dim=1).float()

    def state_dict(self) -> dict[str, Any]:
        """This process's state for a checkpoint within an epoch."""
        return {"sums": self.sums.cpu(), "each": self.each.cpu()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.sums, self.each = state["sums"].to(self.device), state["each"].to(self.device)


def _parts(terms: Terms, images: int) -> Tensor:
    """What each image adds to the loss; a term of the whole batch is shared out evenly."""
    parts = [term.weight * term.values.detach().float() for term in terms.values()]
    return torch.stack([each.mean().expand(images) if each.shape != (images,) else each for each in parts]).sum(dim=0)


@contextmanager
def _outputs_seen(model: nn.Module, images: dict[str, Tensor], seen: dict[str, Tensor]) -> Iterator[None]:
    """Keep the logits of the first pass over each of these tensors.

    By its `forward`: a hook would keep compiled code from running (see `CompiledPasses`).
    """
    before, inner = vars(model).get("forward"), model.forward

    def forward(given: Tensor, *others: Any, **named: Any) -> Any:
        output = inner(given, *others, **named)
        for name, tensor in images.items():
            rows = rows_of(tensor, given)
            if rows is not None and name not in seen and isinstance(logits_in(output), Tensor):
                seen[name] = logits_in(output)[rows].detach()
        return output

    model.forward = forward
    try:
        yield
    finally:
        del model.forward
        if before is not None:
            model.forward = before
