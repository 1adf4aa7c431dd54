"""The copies that searches run on, against the model itself."""

import time
import warnings

import pytest
import torch
from torch import Tensor, nn

from toughen.errors import ToughenWarning
from toughen.models.deadline import Deadline, TimeUp
from toughen.models.inference import frozen
from toughen.models.replica import InBf16, Replica, Replicas, for_queries

CPU = torch.device("cpu")


def test_bf16_by_autocast_gives_fp32(network, batch):
    seen = []
    handle = network[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    images = batch[0].clone().requires_grad_(True)
    logits = InBf16(network)(images)
    handle.remove()
    assert seen == [torch.bfloat16]
    assert logits.dtype == torch.float32
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    assert gradient.dtype == torch.float32
    exact = network(batch[0])
    assert not torch.equal(logits, exact)
    assert torch.allclose(logits, exact, atol=0.05 * exact.abs().max().item())


@pytest.mark.parametrize(("search", "tolerance"), [("folded", 1e-5), ("bf16", 0.05)])
def test_a_copy_gives_the_models_logits_and_gradients(network, batch, search, tolerance: float):
    copy = Replicas(search).of(network, batch[0])
    assert isinstance(copy, Replica)
    logits, gradients = [], []
    for model in (network, copy):
        images = batch[0].clone().requires_grad_(True)
        logits.append(model(images))
        gradients.append(torch.autograd.grad(logits[-1].sum(), images)[0])
    assert logits[1].dtype == gradients[1].dtype == torch.float32
    for exact, found in (logits, gradients):
        assert not torch.equal(found, exact)
        assert torch.allclose(found, exact, rtol=0, atol=tolerance * exact.abs().max().item())


def test_a_copy_is_made_once_and_has_the_models_present_weights(batch):
    model, replicas = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval(), Replicas("folded")
    first = replicas.of(model, batch[0])
    before = first(batch[0])
    with torch.no_grad():
        model[1].bias += 1
    second = replicas.of(model, batch[0])
    assert torch.allclose(second(batch[0]), before + 1)
    assert second._folded[0] is first._folded[0]


def test_a_copys_bf16_weights_survive_when_its_holder_is_put_in_fp32(network, batch):
    copy = Replicas("bf16").of(network, batch[0])
    expected = copy(batch[0])
    with frozen(copy, CPU) as still:
        assert torch.equal(still(batch[0]), expected)


class Branching(nn.Module):
    """Cannot be traced: its way depends on what it sees."""

    def forward(self, images: Tensor) -> Tensor:
        scale = 1.0 if bool(images.mean() > 0.5) else 2.0
        return scale * images.flatten(1)[:, :10]


class Flipping(nn.Module):
    """Mirrors its images, or not: a trace of it would have decided once and for all."""

    def forward(self, images: Tensor) -> Tensor:
        if torch.rand(1).item() < 0.5:
            images = images.flip(-1)
        return images.flatten(1)[:, :10]


@pytest.mark.parametrize(("kind", "reason"), [(Branching, "cannot be traced"), (Flipping, "answers at random")])
def test_what_has_no_copy_is_searched_on_itself_and_that_is_said(batch, kind: type[nn.Module], reason: str):
    model = kind()
    state = torch.get_rng_state()
    with pytest.warns(ToughenWarning, match=f"--precision folded: there is no faster copy of the model, .*{reason}"):
        assert Replicas("folded").of(model, batch[0]) is model
    replicas = Replicas("bf16")
    with pytest.warns(ToughenWarning, match="--precision bf16"):
        assert isinstance(replicas.of(model, batch[0]), InBf16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replicas.of(model, batch[0])  # said once
    assert torch.equal(torch.get_rng_state(), state)


def test_queries_are_never_asked_in_bf16(network, batch):
    exact = network(batch[0])
    copy = Replicas("bf16").of(network, batch[0])
    assert torch.allclose(for_queries(copy)(batch[0]), exact, atol=1e-5)
    assert for_queries(InBf16(network)) is network
    folded = Replicas("folded").of(network, batch[0])
    assert for_queries(folded) is folded
    assert for_queries(network) is network


def test_a_time_limit_holds_for_the_copy(network, batch, monkeypatch):
    deadline = Deadline(1000)
    copy = Replicas("folded").of(deadline.watching(network), batch[0])
    assert isinstance(copy, Replica)
    copy(batch[0])
    later = time.monotonic() + 2000
    monkeypatch.setattr("toughen.models.deadline.monotonic", lambda: later)
    with pytest.raises(TimeUp):
        copy(batch[0])
