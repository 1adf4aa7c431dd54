"""A run's fast paths and its plain ones find the same perturbations, from the same seed."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from toughen.attacks import attacked
from toughen.batch import Batch
from toughen.commands.train import DEFAULTS
from toughen.commands.trainings.assemble import ready
from toughen.commands.trainings.settings import with_data_facts
from toughen.data import DataSource, ImageSet
from toughen.data.source import Decoded, Split
from toughen.losses import cross_entropy, kl
from toughen.methods import ARAT, D2R, PGDAT, TRADES, Method, Perturbed, RegMix
from toughen.models import ResNet18
from toughen.models.mode import buffers_kept, evaluating
from toughen.run import RunFolder
from toughen.threat import ThreatModel
from toughen.training import Trainer
from wrapped import Pruned, SpectralNorm, WeightNorm


class Prototypes(DataSource):
    """Noisy colour prototypes of four classes."""

    def load(self, split: Split) -> ImageSet:
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(40) % 4
        pixels = 128 * torch.rand(4, 3, 16, 16, generator=generator)[labels]
        pixels += 127 * torch.rand(40, 3, 16, 16, generator=generator)
        return ImageSet(Decoded(pixels.to(torch.uint8)), labels, tuple("abcd"), "prototypes")


def trainer(method: Method, folder: Path, **settings: object) -> Trainer:
    asked = {
        "data": Prototypes(),
        "model": partial(ResNet18, width=4),
        "method": method,
        "threat": ThreatModel("linf", "8/255"),
        "batch_size": 16,
        "val_images": 4,
        "trackers": [],
        "device": "cpu",
    }
    images = Prototypes().load("train")
    complete = with_data_facts({**DEFAULTS, **asked, **settings}, images)
    return ready(RunFolder(folder), complete, images)


def batches(run: Trainer) -> list[Batch]:
    run.begin_epoch()
    return list(run.train)


def first_attack(run: Trainer, like: Trainer) -> tuple[Batch, Tensor]:
    """The run's first batch and what its inner maximum finds, with the weights and memories of another run."""
    run.model.load_state_dict(like.model.state_dict())
    run.method.load_state_dict(like.method.state_dict())
    seen: list[Tensor] = []
    perturb = run.method.perturb

    def watched(model: nn.Module, batch: Batch) -> Perturbed:
        seen.append(perturb(model, batch).images)
        return Perturbed(seen[0], seen[0])

    run.method.perturb = watched  # type: ignore[method-assign]
    batch = batches(run)[0]
    with run.prepared():
        run.train_on(batch, False)
    return batch, seen[0]


@pytest.mark.parametrize("method", [PGDAT, TRADES, ARAT, D2R, RegMix])
@pytest.mark.parametrize(("precision", "agreeing", "share"), [("fp32", 0.98, 0.99), ("bf16", 0.7, 0.95)])
def test_same_perturbation(method: type[Method], precision: str, agreeing: float, share: float, tmp_path: Path) -> None:
    """The same pixels raised and lowered, and the same gain of what the attack climbs.

    Of one batch on a network of width 4; what bf16 costs in the mean is held by tests/methods/test_bf16.py.
    """
    settled = trainer(method(), tmp_path / "settled", fast=False)
    for batch in batches(settled):
        settled.train_on(batch, False)
    plain = trainer(method(), tmp_path / "plain", fast=False)
    fast = trainer(method(), tmp_path / "fast", precision=precision)
    (batch, exact), (same_batch, found) = first_attack(plain, settled), first_attack(fast, settled)
    assert torch.equal(batch.images, same_batch.images)
    assert exact.is_contiguous() and found.is_contiguous(memory_format=torch.channels_last)
    threat = plain.method.threat
    threat.check(found, batch.images)
    same = (exact - batch.images).sign() == (found - batch.images).sign()
    assert same.float().mean() >= agreeing
    objective = OBJECTIVES[method]
    clean, reached, expected = (objective(settled, batch, images) for images in (batch.images, found, exact))
    assert reached - clean >= share * (expected - clean) > 0


@pytest.mark.parametrize("network", [SpectralNorm, WeightNorm, Pruned])
def test_computed_weights_are_attacked_as_on_the_plain_path(network: type[nn.Module], tmp_path: Path) -> None:
    settled = trainer(PGDAT(), tmp_path / "settled", fast=False, model=network)
    for batch in batches(settled):
        settled.train_on(batch, False)
    plain = trainer(PGDAT(), tmp_path / "plain", fast=False, model=network)
    fast = trainer(PGDAT(), tmp_path / "fast", model=network)
    (batch, exact), (_, found) = first_attack(plain, settled), first_attack(fast, settled)
    assert ((exact - batch.images).sign() == (found - batch.images).sign()).float().mean() >= 0.98
    clean, reached, expected = (label_loss(settled, batch, images) for images in (batch.images, found, exact))
    assert reached - clean >= 0.99 * (expected - clean) > 0


def label_loss(run: Trainer, batch: Batch, images: Tensor) -> float:
    network = run.method.inference_model(run.model)
    with torch.no_grad(), attacked(network, run.method.attack.mode), buffers_kept(network):
        return cross_entropy(network(images), batch.labels).mean().item()


def divergence(run: Trainer, batch: Batch, images: Tensor) -> float:
    network = run.model
    reference = run.method.guide_network if isinstance(run.method, D2R) else network
    with torch.no_grad(), evaluating(network), evaluating(reference):
        return kl(reference(batch.images), network(images)).mean().item()


OBJECTIVES = {PGDAT: label_loss, TRADES: divergence, ARAT: label_loss, D2R: divergence, RegMix: label_loss}


@pytest.mark.parametrize("method", [TRADES, ARAT, RegMix])
def test_passes_for_the_loss_are_joined_where_the_fast_paths_are_on(method: type[Method], tmp_path: Path) -> None:
    calls = {}
    for fast in (True, False):
        run = trainer(method(), tmp_path / str(fast), fast=fast)
        batch, sizes = batches(run)[0], []
        with run.prepared():
            run.model.register_forward_pre_hook(lambda layer, inputs, seen=sizes: seen.append(len(inputs[0])))
            run.train_on(batch, False)
        calls[fast] = sizes
    together = 3 if method is RegMix else 2
    assert calls[False][-together:] == [16] * together
    assert calls[True][-1] == 16 * together


def test_a_guide_has_the_layout_of_the_network(tmp_path: Path) -> None:
    run = trainer(D2R(), tmp_path / "a")
    for network in (run.model, run.method.guide_network):
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
        assert len(layers) == 20
        assert all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in layers)
