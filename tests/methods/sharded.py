"""One of two processes that train a network and a method by FSDP and by DDP; started by test_fsdp.py."""

import copy
import os

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from toughen.data import Digits
from toughen.methods import LBGAT, TRADES, Method, ModelWithLoss

RANK = int(os.environ.get("RANK", 0))  # doctests import every file
IMAGES, LABELS = Digits().load("train").subset(torch.arange(RANK * 96, RANK * 96 + 96))
WHOLE = StateDictOptions(full_state_dict=True)


def made(kind: type[Method]) -> ModelWithLoss:
    """The same in both processes, but for the random starts."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 10))
    return ModelWithLoss(network, kind().under(eps=0.1, generator=torch.Generator().manual_seed(RANK)))


def sharded(step: ModelWithLoss) -> nn.Module:
    """As docs/devices.md has it."""
    for network in (step.model, *step.method.children()):
        fully_shard(network)
    fully_shard(step)
    return step


def optimizer_of(step: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum, which is state to be saved."""
    return torch.optim.SGD(step.parameters(), lr=0.1, momentum=0.9)


def steps(step: nn.Module, optimizer: torch.optim.Optimizer, numbers: range) -> None:
    """So many of the six batches."""
    for number in numbers:
        part = slice(16 * number, 16 * number + 16)
        optimizer.zero_grad()
        step(IMAGES[part], LABELS[part]).backward()
        optimizer.step()


def weights(step: nn.Module) -> dict[str, Tensor]:
    """The whole weights of network and method."""
    return get_state_dict(step, [], options=WHOLE)[0]


def main(kind: type[Method]) -> None:
    """Six steps by DDP and by FSDP; and three, saved and loaded into a new FSDP, and the other three."""
    alike = DistributedDataParallel(made(kind))
    steps(alike, optimizer_of(alike), range(6))
    step = sharded(made(kind))
    optimizer = optimizer_of(step)
    steps(step, optimizer, range(3))
    saved, draws = copy.deepcopy(get_state_dict(step, optimizer, options=WHOLE)), step.method.generator.get_state()
    steps(step, optimizer, range(3, 6))
    resumed = sharded(made(kind))
    again = optimizer_of(resumed)
    wide = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_state_dict(resumed, again, model_state_dict=saved[0], optim_state_dict=saved[1], options=wide)
    resumed.method.generator.set_state(draws)
    steps(resumed, again, range(3, 6))
    of_ddp, of_fsdp, of_resumed = alike.module.state_dict(), weights(step), weights(resumed)
    begun = made(kind).state_dict()
    if RANK == 0:
        for name, tensor in of_ddp.items():
            torch.testing.assert_close(of_fsdp[name], tensor, rtol=1e-4, atol=1e-5)
            assert torch.equal(of_resumed[name], of_fsdp[name]), name
            assert not torch.allclose(tensor, begun[name], atol=1e-3), name
        assert any(
            part.numel() < whole.numel()
            for part, whole in zip((each.to_local() for each in step.parameters()), step.parameters(), strict=True)
        )
        print(f"{kind.__name__}: {len(of_ddp)} tensors alike")


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    main(TRADES)
    main(LBGAT)
    dist.destroy_process_group()
