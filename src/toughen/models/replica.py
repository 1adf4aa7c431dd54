"""The copy of a model that a search runs on: nearly the same logits, sooner."""

import warnings
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from toughen.errors import ToughenWarning
from toughen.models.deadline import Ask, watched
from toughen.models.fold import FoldedReplica, fold
from toughen.models.input_gradients import FiniteGradients
from toughen.random_state import own_random_state

Search = Literal["folded", "bf16"]
"""folded: BatchNorm folded into convolutions, channels-last, in fp32; bf16: the same in bf16."""

_PASSES = 8
"""Of a model, which must all give the same logits, or it is taken for one that answers at random."""


class InBf16(nn.Module):
    """A model whose passes run under bf16 autocast; images go in and logits come out in fp32.

    Attributes:
        queried: the model itself, see `for_queries`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.queried = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits, fp32."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            logits = self.queried(images)
        return logits.float()


class Replica(nn.Module):
    """A folded copy, kept out of the module tree so that nobody takes its bf16 weights for a model to be put in fp32.

    Args:
        folded: the copy.
        ask: how it is asked.
        exact: the same in fp32, where `folded` is in bf16.
    """

    def __init__(self, folded: FoldedReplica, ask: Ask, exact: FoldedReplica | None = None) -> None:
        super().__init__()
        self._folded, self._ask, self._exact = (folded,), ask, (exact,)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, fp32."""
        return self._ask(self._folded[0], images)

    @property
    def queried(self) -> "Replica":
        """The copy in fp32; see `for_queries`."""
        exact = self._exact[0]
        return self if exact is None else Replica(exact, self._ask)


def for_queries(model: nn.Module) -> nn.Module:
    """What an attack without gradients searches on, where others search on `model`: never anything in bf16.

    Such an attack lives on small differences between logits, most of which bf16 rounds away: Square on bf16 logits
    leaves up to twice as many images, and with them a model whose gradients are masked looks more robust than it is.
    """
    bare = model.model if isinstance(model, FiniteGradients) else model
    return bare.queried if isinstance(bare, InBf16 | Replica) else model


class Replicas:
    """The copies that the searches of an evaluation run on: made once for each model.

    A model that answers at random, that cannot be traced, or whose copy gives other logits is searched on itself; in
    bf16 under autocast.

    Args:
        search: the search that is wanted.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self._known: WeakKeyDictionary[nn.Module, list[FoldedReplica]] = WeakKeyDictionary()

    def of(self, model: nn.Module, images: Tensor) -> nn.Module:
        """What to search on in place of `model`, with its present weights; a time limit on it stays.

        Args:
            model: frozen, on the device of the images.
            images: a few to compare the two on.
        """
        bare, ask = watched(model)
        if bare not in self._known:
            self._known[bare] = self._copies(bare, images[:2])
        copies = [copy.refresh() for copy in self._known[bare]]
        if copies:
            return Replica(copies[0], ask, *copies[1:])
        return InBf16(model) if self.search == "bf16" else model

    def _copies(self, model: nn.Module, images: Tensor) -> list[FoldedReplica]:
        """The one to search on, and, where that is in bf16, the one in fp32; none where there cannot be one."""
        dtypes = (torch.float32,) if self.search == "folded" else (torch.bfloat16, torch.float32)
        with own_random_state(), torch.no_grad():
            first = model(images)
            always = all(torch.equal(model(images), first) for _ in range(_PASSES - 1))
            made = [fold(model, images, dtype) for dtype in dtypes] if always else []
        copies = [copy for copy in made if copy is not None]
        if copies and len(copies) == len(dtypes):
            return copies
        reason = "its forward cannot be traced, or a copy gives other logits" if always else "it answers at random"
        warnings.warn(
            f"--precision {self.search}: there is no faster copy of the model, for {reason}; attacks search on the "
            "model itself, which takes longer and says the same",
            ToughenWarning,
            stacklevel=2,
        )
        return []
