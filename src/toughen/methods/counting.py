"""How often a step of a method passes through the network that it trains."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toughen.batch import Batch
from toughen.methods.helped import Helped
from toughen.methods.method import Method
from toughen.models.small_cnn import SmallCNN
from toughen.random_state import own_random_state
from toughen.threat import ThreatModel


@dataclass
class StepPasses:
    """Passes of a batch.

    Attributes:
        forward: through the network.
        backward: through what these gave.
    """

    forward: int = 0
    backward: int = 0

    def watch(self, model: nn.Module) -> None:
        """Count those of a network from now on."""
        model.register_forward_hook(self._count)

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.forward += 1
        if output.requires_grad:
            output.register_hook(self._count_backward)

    def _count_backward(self, gradient: Tensor) -> None:
        self.backward += 1


def step_passes(method: Method) -> StepPasses:
    """The passes of a step, counted in one on a small network that is not joined with others; guides are not counted.

    It is the second step of a training, in which a memory of every image is filled. The method stays as it is.

    >>> from toughen.methods import TRADES
    >>> step_passes(TRADES())
    StepPasses(forward=13, backward=12)
    """
    method = copy.deepcopy(method)
    with own_random_state(), torch.enable_grad():
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(8, 1, 8, 8, generator=generator)
        labels = torch.randint(10, (8,), generator=generator)
        batch = Batch(images, labels, torch.arange(8), views=(images.flip(2),) * method.views)
        model: nn.Module = SmallCNN(10, 1, width=8)
        method.under(ThreatModel("linf", 0.1), generator)
        method.allocate_memory(8, (1, 8, 8))
        if isinstance(method, Helped):  # what the helper has learnt changes no count
            method.helper = SmallCNN(10, 1, width=8).requires_grad_(False).eval()
        else:
            model = method.prepare(model)
        method(model.train(), batch).backward()
        passes = StepPasses()
        passes.watch(model)
        method(model, batch).backward()
    return passes
