"""One of two processes that train with a memory of every image; started by test_prior_runs.py.

python two_processes.py FOLDER RANK
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.nn.parallel import DistributedDataParallel

from toughen.data import Augment, Digits, Loader
from toughen.methods import FGSMPGK, total
from toughen.models import SmallCNN
from toughen.threat import ThreatModel
from toughen.training.updates import TrainingStep

IMAGES, BATCH = 200, 40
DATA = Digits().load("train")
ORDER = {"indices": torch.arange(IMAGES), "batch_size": BATCH, "device": "cpu", "shuffle": True, "seed": 3}


def method_with_memory() -> FGSMPGK:
    """The same memory in every process; its last row belongs to no image."""
    method = FGSMPGK().under(ThreatModel("linf", 0.1), torch.Generator().manual_seed(0))
    method.allocate_memory(IMAGES + 1, DATA.shape)
    corners = torch.rand(IMAGES + 1, *DATA.shape, generator=torch.Generator().manual_seed(1)).round()
    method.perturbation.copy_(0.2 * corners - 0.1)
    method.known[:IMAGES] = True
    return method


def main(folder: Path, rank: int) -> None:
    """An epoch of attacks on fixed weights, alone and with the other process; then two epochs of training."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = SmallCNN(10, 1, width=4)
    alone, together, method = method_with_memory(), method_with_memory(), method_with_memory()
    for batch in Loader(DATA, **ORDER):
        alone.perturb(model, batch)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for batch in Loader(DATA, **ORDER, rank=rank, world_size=2):
        together.perturb(model, batch)

    step = DistributedDataParallel(TrainingStep(model, method))
    method.perturbation[-1] = rank
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    draws = torch.Generator().manual_seed(rank)
    loader = Loader(DATA, **ORDER, rank=rank, world_size=2, augment=Augment(crop=1), generator=draws)
    for _ in range(2):
        for batch in loader:
            perturbed = method.perturb(model.train(), batch)
            optimizer.zero_grad()
            total(step(batch, perturbed)).backward()
            optimizer.step()
    results = {
        "alone": alone.perturbation,
        "together": together.perturbation,
        "marked": method.perturbation[-1].mean(),
        "perturbation": method.perturbation[:-1].clone(),
        "velocity": method.velocity,
        "known": method.known,
        "held": method.held,
    }
    save_file(results, folder / f"{rank}.safetensors")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
