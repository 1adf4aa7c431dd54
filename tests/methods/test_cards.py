"""What a method's docstring must say, for its card, and whether the stated cost is the real one."""

import inspect
import re

import pytest
import torch
from cases import WITH_ANY_HELPER
from torch import Tensor, nn

from toughen import catalog
from toughen.batch import Batch
from toughen.methods import Method, RegMix
from toughen.models import SmallCNN
from toughen.settings.names import import_path
from toughen.threat import ThreatModel

NAMES = sorted(catalog.classes("methods"))


def method_class(name: str) -> type[Method]:
    return import_path(catalog.classes("methods")[name].path)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_everything_that_a_reader_asks(name: str) -> None:
    text = inspect.cleandoc(method_class(name).__doc__ or "")
    for heading in (r"Source: ", r"When to use it: ", r"Deviations?: ", r"Cost: "):
        assert re.search(rf"^{heading}", text, re.MULTILINE), heading


class Passes:
    """Counts forward passes through a network, and backward passes through what these gave."""

    def __init__(self, model: nn.Module) -> None:
        self.forward = self.backward = 0
        model.register_forward_hook(self._count)

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.forward += 1
        if output.requires_grad:
            output.register_hook(self._count_backward)

    def _count_backward(self, gradient: Tensor) -> None:
        self.backward += 1


@pytest.mark.parametrize("name", NAMES)
def test_the_stated_cost_is_counted(name: str) -> None:
    kind = WITH_ANY_HELPER.get(name) or method_class(name)
    stated = re.search(r"Cost: (\d+) forward and (\d+) backward", method_class(name).__doc__ or "")
    assert stated
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 1, 8, 8, generator=generator)
    labels = torch.randint(10, (8,), generator=generator)
    batch = Batch(images, labels, torch.arange(8), views=(images.flip(2), images.flip(3)))
    method = kind().under(ThreatModel("linf", 0.1), generator)
    method.allocate_memory(8, (1, 8, 8))
    model = method.prepare(SmallCNN(10, 1, width=8)).train()
    method(model, batch).backward()  # a memory of every image is filled by the first step
    passes = Passes(model)
    method(model, batch).backward()
    assert (passes.forward, passes.backward) == tuple(int(number) for number in stated.groups())


def test_the_default_of_regmix_is_counted_with_its_parts() -> None:
    """The card says what each part costs: without AMR and AGR one pass of each kind less."""
    generator = torch.Generator().manual_seed(0)
    batch = Batch(torch.rand(4, 1, 8, 8, generator=generator), torch.tensor([0, 1, 2, 3]), torch.arange(4))
    found = []
    for settings in ({}, {"gamma": 0.0}, {"alpha": 0.0, "beta": 0.0}):
        method = RegMix(**settings).under(ThreatModel("linf", 0.1), generator)
        method.allocate_memory(4, (1, 8, 8))
        model = SmallCNN(10, 1, width=8).train()
        passes = Passes(model)
        method(model, batch).backward()
        found.append((passes.forward, passes.backward))
    assert found == [(4, 4), (3, 3), (3, 3)]
