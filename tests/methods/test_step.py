"""A network and a method as one module."""

import copy

import pytest
import torch
from cases import CASES, Case
from torch import nn

from toughen.batch import Batch
from toughen.methods import FGSMPGI, ModelWithLoss
from toughen.models import SmallCNN
from toughen.threat import ThreatModel

ROWS = [pytest.param(case, id=f"{name}-{i}") for name, rows in CASES.items() for i, case in enumerate(rows)]
IMAGES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS, INDICES = torch.tensor([0, 1, 2, 0, 1, 2]), torch.arange(6)
GIVEN = (IMAGES, LABELS, INDICES, (IMAGES.flip(2), IMAGES.flip(3)))


class WithLogits(SmallCNN):
    """Gives its logits among other things, as networks of transformers do."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": super().forward(images)}


def made(case: Case, network: type[nn.Module] = SmallCNN) -> ModelWithLoss:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = case.make().under(ThreatModel("linf", 0.1), torch.Generator().manual_seed(0))
        method.allocate_memory(6, (1, 8, 8))
        return ModelWithLoss(network(3, 1, width=8), method).train()


@pytest.mark.parametrize("case", ROWS)
def test_it_gives_the_loss_of_the_method_whatever_holds_the_logits(case: Case) -> None:
    bare, step, among_others = made(case), made(case), made(case, WithLogits)
    expected = bare.method(bare.model, Batch(*GIVEN[:3], views=GIVEN[3]))
    loss = step(*GIVEN)
    assert torch.equal(loss, expected)
    assert torch.equal(among_others(*GIVEN), expected)
    loss.backward()
    assert all(parameter.grad is not None for parameter in step.model.parameters())
    step.begin_epoch(0, IMAGES, LABELS)
    assert step.classifier.eval()(IMAGES).shape == (6, 3)


@pytest.mark.parametrize("case", ROWS)
def test_a_saved_state_goes_on_as_if_never_interrupted(case: Case) -> None:
    first = made(case)
    first(*GIVEN)
    state, draws = copy.deepcopy(first.state_dict()), first.method.generator.get_state()
    second = made(case)
    second.load_state_dict(state)
    second.method.generator.set_state(draws)
    assert torch.equal(second(*GIVEN), first(*GIVEN))


def test_data_parallelism_leaves_memories_alone() -> None:
    method = FGSMPGI().under(eps=0.1)
    method.allocate_memory(6, (1, 8, 8))
    step = ModelWithLoss(SmallCNN(3, 1), method)
    names = dict(step.named_buffers())
    assert {f"method.{name}" for name in method.memories} <= names.keys()
    assert set(step._ddp_params_and_buffers_to_ignore) <= names.keys()
