"""The largest batch that an evaluation can take, on real memory."""

import pytest
import torch
from torch import Tensor, nn

import toughen.evaluation.plan
from toughen.errors import InputError, RunError
from toughen.evaluation import evaluate_model
from toughen.hardware.memory import forget_peak_memory, largest_batch, peak_memory
from toughen.threat import ThreatModel

CPU = torch.device("cpu")
MB = 10**6


class Wasteful(nn.Module):
    """Keeps 2 MB an image for the backward pass, and computes next to nothing."""

    def forward(self, images: Tensor) -> Tensor:
        large = images.flatten(1)[:, :10, None].expand(-1, -1, 50_000)
        return large.sin().mean(2)


def in_use() -> int:
    forget_peak_memory(CPU)
    return peak_memory(CPU)


def test_the_largest_that_fits():
    image = torch.rand(1, 1, 4, 4)
    memory = in_use() + 600 * MB
    found = largest_batch(Wasteful(), image, most=5000, memory=memory, start=8)
    # The forward pass holds 2 MB an image, its gradient as much again, and sin's product with it.
    assert 600 / 8 * 0.7 < found < 600 / 2
    assert largest_batch(Wasteful(), image, most=20, memory=memory, start=8) == 20


def test_nothing_fits():
    with pytest.raises(RunError, match="not even 2 images fit into the memory of cpu"):
        largest_batch(Wasteful(), torch.rand(1, 1, 4, 4), most=50, memory=1.0)


def test_an_evaluation_finds_its_batches_and_says_them(network, images, monkeypatch):
    monkeypatch.setattr(toughen.evaluation.plan, "largest_batch", lambda model, image, most: most // 2)
    settings = {"budget": "quick", "test_images": 40, "device": "cpu", "checks": False}
    threat = ThreatModel("linf", 0.1)
    found = evaluate_model(network, images, threat, batch_size="auto", **settings)
    assert found.result["batch_size"] == 20
    given = evaluate_model(network, images, threat, batch_size=20, **settings)
    assert given.result["key"] == found.result["key"]
    with pytest.raises(InputError, match="batch_size: expected at least 1, got 0"):
        evaluate_model(network, images, threat, batch_size=0, **settings)


def test_a_model_that_cannot_take_the_images_is_named_as_ever(images):
    wrong = nn.Sequential(nn.Flatten(), nn.Linear(7, 10)).eval()
    with pytest.raises(InputError, match="the model cannot take images of 1 x 8 x 8"):
        evaluate_model(wrong, images, ThreatModel("linf", 0.1), batch_size="auto", device="cpu")


def test_a_model_without_a_gradient_has_a_largest_batch_too():
    class Blind(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.detach().flatten(1)[:, :10]

    assert largest_batch(Blind(), torch.rand(1, 1, 4, 4), most=40) == 40
