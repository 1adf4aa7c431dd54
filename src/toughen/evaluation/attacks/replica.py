"""The copy of a model that a search runs on: nearly the same logits, sooner."""

from collections.abc import Callable
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from toughen.evaluation.pace import watched
from toughen.models.fold import FoldedReplica, fold

Search = Literal["folded", "bf16"]
"""folded: BatchNorm folded into convolutions, channels-last, in fp32; bf16: the same in bf16."""


class InBf16(nn.Module):
    """A model whose passes run under bf16 autocast; images go in and logits come out in fp32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits, fp32."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            logits = self.model(images)
        return logits.float()


class Replica(nn.Module):
    """A folded copy, kept out of the module tree so that nobody takes its bf16 weights for a model to be put in fp32.

    Args:
        folded: the copy.
        check: called before each pass.
    """

    def __init__(self, folded: FoldedReplica, check: Callable[[], None]) -> None:
        super().__init__()
        self._folded, self._check = (folded,), check

    def forward(self, images: Tensor) -> Tensor:
        """Logits, fp32."""
        self._check()
        return self._folded[0](images)


class Replicas:
    """The copies that the searches of an evaluation run on: one a model, made once.

    A model that cannot be traced, or whose copy gives other logits, is searched on itself; in bf16 under autocast.

    Args:
        search: what is wanted.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self._known: WeakKeyDictionary[nn.Module, FoldedReplica | None] = WeakKeyDictionary()

    def of(self, model: nn.Module, images: Tensor) -> nn.Module:
        """What to search on in place of `model`, with its present weights; a time limit on it stays.

        Args:
            model: frozen, on the device of the images.
            images: a few to compare the two on.
        """
        bare, check = watched(model)
        if bare not in self._known:
            self._known[bare] = fold(bare, images[:2], torch.bfloat16 if self.search == "bf16" else torch.float32)
        folded = self._known[bare]
        if folded is not None:
            return Replica(folded.refresh(), check)
        return InBf16(model) if self.search == "bf16" else model
