"""BatchNorm over several processes: torch's arithmetic, and what is refused. Two real ones: test_train_torchrun.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from toughen.errors import InputError
from toughen.models.synced_batchnorm import SyncedBatchNorm, synced_batch_norms

CPU = torch.device("cpu")


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", [(6, 3, 4, 4), (6, 3)])
def test_of_one_process_it_is_torchs(alone: None, shape: tuple[int, ...], momentum: float | None) -> None:
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    plain = kind(3, momentum=momentum)
    nn.init.uniform_(plain.weight)
    nn.init.uniform_(plain.bias)
    synced = synced_batch_norms(kind(3, momentum=momentum), CPU)
    assert isinstance(synced, SyncedBatchNorm)
    synced.load_state_dict(plain.state_dict())
    for _ in range(2):
        images = torch.randn(shape)
        found = []
        for norm in (plain, synced):
            seen = images.clone().requires_grad_()
            output = norm(seen)
            norm.zero_grad()
            output.pow(3).sum().backward()
            found.append([output, seen.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var])
        for theirs, ours in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert int(synced.num_batches_tracked) == 2
    torch.testing.assert_close(synced.eval()(images), plain.eval()(images))


def test_in_bf16_the_statistics_are_fp32s(alone: None) -> None:
    images = 3 + torch.randn(500, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    plain, synced = nn.BatchNorm1d(2), synced_batch_norms(nn.BatchNorm1d(2), CPU)
    assert synced(images).dtype == torch.bfloat16
    plain(images.float())
    torch.testing.assert_close(synced.running_var, plain.running_var)


def test_all_are_found_and_share_their_weights() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm2d(2))).eval()
    names, before = list(network.state_dict()), dict(network.named_parameters())
    synced_batch_norms(network, CPU)
    assert [type(network[1]), type(network[2][0])] == [SyncedBatchNorm] * 2
    assert list(network.state_dict()) == names
    assert all(parameter is before[name] for name, parameter in network.named_parameters())
    assert not network[1].training
    on_gpu = synced_batch_norms(nn.Sequential(nn.BatchNorm2d(2)), torch.device("cuda"))
    assert type(on_gpu[0]) is nn.SyncBatchNorm


def test_one_that_does_more_is_refused() -> None:
    class WithActivation(nn.BatchNorm2d):
        pass

    with pytest.raises(InputError, match="WithActivation is not torch's BatchNorm"):
        synced_batch_norms(nn.Sequential(WithActivation(2)), CPU)
