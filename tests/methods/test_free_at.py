"""Free-AT: what is carried from pass to pass, against plain loops, and whole runs of it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from stopping import StopAt
from torch import Tensor, nn

from toughen import train
from toughen.batch import Batch
from toughen.data import Augment
from toughen.errors import InputError
from toughen.methods import FreeAT, ModelWithLoss, Perturbed
from toughen.models import SmallCNN
from toughen.threat import ThreatModel
from toughen.training import Constant, Interrupted
from toughen.training.log import read_rows

EPS = 0.05


def linear() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()


def batches() -> list[Batch]:
    draws = torch.Generator().manual_seed(1)
    images = torch.rand(3, 4, 1, 4, 4, generator=draws, dtype=torch.float64)
    return [Batch(each, torch.tensor([0, 1, 2, 0])) for each in images]


@pytest.mark.parametrize("step_size", [None, EPS / 3])
def test_updates_in_plain_loops(step_size: float | None) -> None:
    """Softmax regression, whose gradients are known: weights and perturbation move by the same pass."""
    model, replays, rate = linear(), 3, 0.5
    weight, bias = model[1].weight.detach().clone(), model[1].bias.detach().clone()
    method = FreeAT(replays, step_size).under(ThreatModel("linf", EPS))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    d = torch.zeros(4, 16, dtype=torch.float64)
    for batch in batches():
        for _ in range(method.replays):
            optimizer.zero_grad()
            method(model, batch).backward()
            optimizer.step()
            x = (batch.images.flatten(1) + d).clamp(0, 1)
            error = (x @ weight.T + bias).softmax(1) - nn.functional.one_hot(batch.labels, 3)
            d = (d + (step_size or EPS) * (error @ weight).sign()).clamp(-EPS, EPS)
            weight, bias = weight - rate * error.T @ x / 4, bias - rate * error.mean(0)
    torch.testing.assert_close(model[1].weight.detach(), weight)
    torch.testing.assert_close(model[1].bias.detach(), bias)
    method.perturb(model, batches()[0])  # the last pass climbs when the next step begins
    torch.testing.assert_close(method.carried[0], d.view(4, 1, 4, 4))


@pytest.mark.parametrize("threat", [ThreatModel("l2", 0.5), ThreatModel("l1", 3.0)], ids=str)
def test_other_norms_stay_in_their_ball(threat: ThreatModel) -> None:
    method, model = FreeAT(2).under(threat), linear()
    for batch in batches():
        for _ in range(2):
            images = method.perturb(model, batch).images
            threat.check(images, batch.images)
            method.terms(model, batch, method.perturb(model, batch))["adversarial_ce"].values.sum().backward()
    assert threat.norm_of(method.carried[0]).min() > 0.5 * threat.radius


def test_a_part_of_an_update_has_its_own_and_larger_batches_find_room() -> None:
    method, model = FreeAT().under(ThreatModel("linf", EPS)), linear()
    one, other, _ = batches()
    larger = Batch(torch.cat([one.images] * 2), torch.cat([one.labels] * 2), part=1)
    for batch in (one, larger):
        method(model, batch).backward()
    method.perturb(model, other)
    assert method.carried.shape == (2, 8, 1, 4, 4)
    assert method.carried[0, 4:].abs().max() == 0
    assert method.carried[1].abs().min() > 0
    resumed = FreeAT().double()
    resumed.load_state_dict(method.state_dict())
    assert torch.equal(resumed.carried, method.carried)
    resumed.load_state_dict(FreeAT().state_dict())
    assert resumed.carried is None


def test_passes_on_clean_images_are_not_kept() -> None:
    """In an epoch without an attack nothing is carried, and no batch is held on to."""
    method, model, batch = FreeAT().under(ThreatModel("linf", EPS)), linear(), batches()[0]
    for _ in range(2):
        clean = Perturbed(batch.images, batch.images)
        method.terms(model, batch, clean)["adversarial_ce"].values.sum().backward()
        method.after_loss(batch, clean)
    assert not method._passed
    assert torch.equal(method.perturb(model, batch).images, batch.images)


def test_settings_out_of_range() -> None:
    for settings, name in (({"replays": 0}, "replays"), ({"step_size": 0.0}, "step_size")):
        with pytest.raises(InputError, match=rf"method\.{name}: expected"):
            FreeAT(**settings)


class Plain(nn.Module):
    """Without BatchNorm, whose statistics depend on how a batch is split."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(in_channels, 4, 3), nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images).tanh().mean((2, 3)))


RUN = {"epochs": 2, "budget": "none", "trackers": [], "device": "cpu", "train_images": 96, "val_images": 20}


def checkpoint(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "checkpoints" / "last" / "tensors.safetensors")


def test_batches_of_an_update_are_taken_again_together(tmp_path: Path) -> None:
    """Two batches of 16 whose gradients are accumulated are one of 32; the last update has a third of them alone."""
    found = {}
    for size, accumulate in ((32, 1), (16, 2)):
        folder = tmp_path / str(size)
        settings = {**RUN, "batch_size": size, "accumulate": accumulate, "train_images": 80}
        smooth = {"threat": ThreatModel("l2", 1.0), "schedule": Constant()}  # signs would turn with the rounding
        train(**settings, **smooth, model=Plain, augment=Augment(crop=0, flip=False), method=FreeAT(3), out=str(folder))
        found[size] = checkpoint(folder)
    whole, parts = (next(value for name, value in found[size].items() if "carried" in name) for size in (32, 16))
    torch.testing.assert_close(parts.flatten(0, 1), whole[0], atol=1e-4, rtol=0)
    assert whole.abs().max() > 0.1
    for name in ("conv.weight", "fc.bias"):
        one, other = (next(value for key, value in found[size].items() if key.endswith(name)) for size in (32, 16))
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    once = tmp_path / "once"
    train(**{**RUN, "batch_size": 32, "train_images": 80}, model=Plain, method=FreeAT(1), out=str(once))
    spent = [read_rows(folder / "metrics.csv")[-1]["flops"] for folder in (tmp_path / "32", tmp_path / "16", once)]
    assert spent[0] == spent[1] == 3 * spent[2]


@pytest.mark.nightly
def test_stopped_in_the_middle_of_an_epoch_and_resumed_is_bit_identical(tmp_path: Path) -> None:
    whole, stopped, once = (tmp_path / name for name in ("whole", "stopped", "once"))
    settings = {**RUN, "model": SmallCNN, "batch_size": 16, "accumulate": 2}
    train(**settings, method=FreeAT(3), out=str(whole))
    with pytest.raises(Interrupted):
        train(**settings, method=FreeAT(3), out=str(stopped), observer=StopAt(3))
    train(resume=str(stopped))
    one, other = checkpoint(whole), checkpoint(stopped)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    train(**settings, method=FreeAT(1), out=str(once))
    spent = [read_rows(folder / "metrics.csv")[-1]["flops"] for folder in (whole, stopped, once)]
    assert spent[0] == spent[1] == 3 * spent[2]


def process(rank: int, folder: Path) -> None:
    store = f"file://{folder / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    step = ModelWithLoss(linear(), FreeAT(2).under(ThreatModel("linf", EPS)))
    network = nn.parallel.DistributedDataParallel(step)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for batch in batches():
        for _ in range(2):
            optimizer.zero_grad()
            network(batch.images[rank::2], batch.labels[rank::2]).backward()
            optimizer.step()
    step.method.after_loss(batch, Perturbed(batch.images))
    save_file({"weight": step.model[1].weight.detach(), "carried": step.method.carried}, folder / f"{rank}.safetensors")


@pytest.mark.nightly
def test_two_processes_are_one(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(process, (tmp_path,), nprocs=2, start_method="fork")
    model, method = linear(), FreeAT(2).under(ThreatModel("linf", EPS))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for batch in batches():
        for _ in range(2):
            optimizer.zero_grad()
            method(model, batch).backward()
            optimizer.step()
    method.after_loss(batch, Perturbed(batch.images))
    for rank in range(2):
        found = load_file(tmp_path / f"{rank}.safetensors")
        torch.testing.assert_close(found["weight"], model[1].weight.detach())
        torch.testing.assert_close(found["carried"], method.carried)
