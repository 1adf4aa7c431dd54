"""Batches in one pass against the plain passes, one after the other, in float64."""

import copy

import pytest
import torch
from torch import Tensor, nn

from toughen.models import ResNet18, SmallCNN, split_batch_norms
from toughen.models.passes import joined, may_join, passes
from toughen.models.synced_batchnorm import SyncedBatchNorm

SIZES = (5, 3, 4)


def network(frozen: bool = False, momentum: float | None = 0.1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ResNet18(width=4).double().train()
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, 1, 0.2)
                nn.init.normal_(layer.bias)
                layer.momentum = momentum
    if frozen:
        model.layer1.eval()
    return model


def batches(sizes: tuple[int, ...] = SIZES, size: int = 16) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last
    drawn = (torch.rand(n, 3, size, size, generator=generator, dtype=torch.float64) for n in sizes)
    return [((1 + place) * images).contiguous(memory_format=layout) for place, images in enumerate(drawn)]


def found(logits: list[Tensor], model: nn.Module, images: list[Tensor]) -> dict[str, Tensor]:
    """Logits, gradients of weights and images, and statistics."""
    generator = torch.Generator().manual_seed(1)
    factors = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in logits]
    sum((each * factor).sum() for each, factor in zip(logits, factors, strict=True)).backward()
    gradients = {f"gradient of {name}": weight.grad for name, weight in model.named_parameters()}
    images_gradients = {f"gradient of batch {place}": each.grad for place, each in enumerate(images)}
    return {"logits": torch.cat(logits).detach(), **gradients, **images_gradients, **dict(model.named_buffers())}


@pytest.mark.parametrize(
    "model",
    [network(), network(frozen=True), network(momentum=None), network().to(memory_format=torch.channels_last)],
    ids=["plain", "frozen stage", "cumulative", "channels last"],
)
def test_one_pass_is_the_passes_one_after_the_other(model: nn.Module) -> None:
    alone, images = copy.deepcopy(model), batches()
    for each in images:
        each.requires_grad_()
    expected = found([alone(each) for each in images], alone, images)
    again = [each.detach().clone().requires_grad_() for each in images]
    calls: list[int] = []
    handle = model.conv1.register_forward_pre_hook(lambda layer, inputs: calls.append(len(inputs[0])))
    with joined(model):
        logits = passes(model, *again)
    handle.remove()
    assert calls == [sum(SIZES)]
    joint = found(logits, model, again)
    assert joint.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(joint[name], value, rtol=1e-9, atol=1e-10, msg=name)


def test_each_batch_goes_through_its_branch() -> None:
    model = split_batch_norms(network())
    alone = {name: network() for name in ("clean", "adversarial")}
    first, second, third = batches((4, 4, 4))
    names = ("clean", "adversarial", "clean")
    with joined(model):
        logits = passes(model, first, second, third, branches=names)
    expected = [alone[name](images) for name, images in zip(names, (first, second, third), strict=True)]
    torch.testing.assert_close(torch.cat(logits), torch.cat(expected), rtol=1e-10, atol=1e-10)
    buffers = dict(model.named_buffers())
    for name, ordinary in alone.items():
        for key, value in ordinary.named_buffers():
            place, _, kind = key.rpartition(".")
            torch.testing.assert_close(buffers[f"{place}.{name}.{kind}"], value)


def test_what_is_asked_for_may_be_more_than_logits() -> None:
    model, images = network(), batches()
    with joined(model):
        parts = passes(model, *images, ask=lambda x: (model(x), {"mean": x.mean(dim=(1, 2, 3))}))
    assert [len(logits) for logits, _ in parts] == list(SIZES)
    for (_, features), batch in zip(parts, images, strict=True):
        torch.testing.assert_close(features["mean"], batch.mean(dim=(1, 2, 3)))


def test_other_networks_and_eval_mode_are_asked_one_by_one() -> None:
    model, guide, images = network(), network(), batches()
    sizes: list[int] = []
    for each in (model, guide):
        each.conv1.register_forward_pre_hook(lambda layer, inputs: sizes.append(len(inputs[0])))
    with joined(model):
        passes(guide, *images)
        passes(model.eval(), *images)
    with joined(None):
        passes(model.train(), *images)
    passes(model, *images)
    assert sizes == [*SIZES] * 4
    assert all("forward" not in vars(layer) for layer in model.modules())


class Centred(nn.Module):
    """Mixes the images of a batch by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=0)


@pytest.mark.parametrize(
    ("layer", "joins"),
    [
        (nn.Identity(), True),
        (nn.GroupNorm(1, 3), True),
        (nn.BatchNorm2d(3), True),
        (nn.BatchNorm2d(3, track_running_stats=False), True),
        (nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)), False),
        (Centred(), False),
        (SyncedBatchNorm(3), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_networks_that_mix_images_or_draw_are_left_as_they_are(layer: nn.Module, joins: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(layer, SmallCNN(width=4, in_channels=3)).eval()
    before = copy.deepcopy(model.state_dict())
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert may_join(model, images) is joins
    assert not may_join(model, images[:3])
    assert not model.training and all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
