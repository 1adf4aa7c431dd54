"""Copies, and what a state dict holds beside tensors."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from toughen.errors import InputError
from toughen.models import load_weights
from toughen.models.state import check_values, copied, extra_as_text
from toughen.run import RunFolder
from toughen.training.checkpoint import save_model

IMAGES = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def linear() -> nn.Linear:
    return nn.Linear(4, 3)


def old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning):
        return torch.nn.utils.weight_norm(linear())


class Keeps(nn.Module):
    """Keeps the features of its last batch, once bare, once in a list of a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = linear()
        self.last: Any = None
        self.all: dict[str, Any] = {}

    def forward(self, images: Tensor) -> Tensor:
        self.last = self.layer(images)
        self.all["features"] = [self.last * 2]
        return self.last


class Counts(nn.Module):
    """A state of its own beside the weights."""

    def __init__(self, extra: Any) -> None:
        super().__init__()
        self.layer, self.extra = linear(), extra

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1)) * self.extra["scale"]


@pytest.mark.parametrize("make", [old_weight_norm, Keeps])
def test_a_copy_answers_alike_and_shares_no_weights(make: Any) -> None:
    model, flat = make(), IMAGES.flatten(1)
    before = model(flat)
    twin = copied(model)
    assert torch.equal(twin(flat), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(2)
    assert not torch.equal(twin(flat), before)
    assert torch.equal(model(flat), before)


def test_tensors_without_values_are_refused() -> None:
    with torch.device("meta"):
        meta = nn.Sequential(linear())
    with pytest.raises(InputError, match=r"the model's 0\.weight is on the meta device, .*to_empty"):
        copied(meta)
    with pytest.raises(InputError, match=r"the model's 0\.weight waits for its first batch"):
        check_values(nn.Sequential(nn.LazyLinear(3)))


def test_what_cannot_be_copied_is_refused() -> None:
    model = linear()
    model.stream = (number for number in range(3))
    with pytest.raises(InputError, match=r"Linear cannot be copied: TypeError: cannot pickle 'generator' object; "):
        copied(model)


def test_extra_state_is_kept_with_the_weights(tmp_path: Path) -> None:
    saved = Counts({"scale": 2.5, "names": ["a", "b"]})
    save_model(RunFolder(tmp_path), saved, {})
    loaded = load_weights(Counts({"scale": 1.0}), tmp_path / "model.safetensors")
    assert torch.equal(loaded(IMAGES), saved(IMAGES))
    assert loaded.extra == saved.extra


def test_weights_without_the_extra_state_leave_it_as_it_is(tmp_path: Path) -> None:
    plain = nn.Module()
    plain.layer = linear()
    save_model(RunFolder(tmp_path), plain, {})
    loaded = load_weights(Counts({"scale": 4.0}), tmp_path / "model.safetensors")
    assert torch.equal(loaded(IMAGES), 4 * plain.layer(IMAGES.flatten(1)))


@pytest.mark.parametrize(
    "extra",
    [object(), (1, 2), {1: 2}, {"a": torch.zeros(1)}, torch.float32],
    ids=["object", "tuple", "integer keys", "tensor", "dtype"],
)
def test_extra_state_that_would_not_come_back_is_refused(extra: Any) -> None:
    with pytest.raises(InputError, match=rf"Counts's state dict holds '_extra_state', a {type(extra).__name__}, which"):
        extra_as_text(Counts(extra))
