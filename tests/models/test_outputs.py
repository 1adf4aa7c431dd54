"""The logits in whatever a network gives."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from toughen.errors import InputError
from toughen.models.outputs import giving_logits, logits_in

IMAGES = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))


class Beside(nn.Module):
    """Logits in a container."""

    def __init__(self, container: Any) -> None:
        super().__init__()
        self.layer, self.container = nn.Linear(4, 3), container

    def forward(self, images: Tensor) -> Any:
        return self.container(logits=self.layer(images.flatten(1)))


@pytest.mark.parametrize("container", [dict, SimpleNamespace])
def test_the_twin_gives_the_logits_and_is_the_same_network(container: Any) -> None:
    model = Beside(container).train()
    twin = giving_logits(model, IMAGES)
    assert torch.equal(twin(IMAGES), model.layer(IMAGES.flatten(1)))
    assert type(twin) is Beside
    assert twin.layer is model.layer
    assert twin.state_dict().keys() == model.state_dict().keys()
    assert isinstance(model(IMAGES), container)  # the caller's own is as it was
    assert model.training


def test_a_network_that_gives_logits_is_left_alone() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    assert giving_logits(model, IMAGES) is model
    assert giving_logits(model, IMAGES[..., :1]) is model  # what it cannot take, others complain about


@pytest.mark.parametrize("output", [(torch.zeros(1, 2),), {"scores": torch.zeros(1, 2)}, {"logits": 3}, None])
def test_where_no_logits_are_found_the_output_stays(output: Any) -> None:
    assert logits_in(output) is output


def test_torchscript_is_told_to_return_the_logits() -> None:
    class Scripted(nn.Module):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"logits": images.flatten(1)}

    with pytest.raises(InputError, match="TorchScript module that gives a dict of logits"):
        giving_logits(torch.jit.script(Scripted()), IMAGES)
