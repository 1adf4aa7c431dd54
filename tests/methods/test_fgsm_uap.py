"""FGSM-UAP's universal perturbations: where they start, and how a step moves them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import FGSMUAP, Perturbed
from toughen.models import SmallCNN
from toughen.threat import ThreatModel

EPS = 0.05
LABELS = [0, 2, 2, 0, 2]


def bound(**settings: object) -> FGSMUAP:
    method = FGSMUAP(**settings).under(ThreatModel("linf", EPS), torch.Generator().manual_seed(0))
    method.prepare(SmallCNN(4, 1, width=4))
    return method


def batch(seed: int = 1) -> Batch:
    draws = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(5, 1, 4, 4, generator=draws, dtype=torch.float64), torch.tensor(LABELS))


def gradient(seed: int) -> Tensor:
    return torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shared", ["class", "all"])
def test_they_move_as_in_plain_loops(shared: str) -> None:
    method, reach = bound(shared=shared, momentum=0.3), 1.25 * EPS
    method.perturb(linear(), batch())
    rows = 4 if shared == "class" else 1
    u, v = method.universal.clone(), torch.zeros(rows, 1, 4, 4, dtype=torch.float64)
    assert u.shape == v.shape
    assert u.abs().unique().tolist() == pytest.approx([reach])
    for step in range(4):
        g = gradient(step)
        method.after_loss(batch(), Perturbed(batch().images, gradient=g))
        for row in range(rows):
            mine = [i for i, label in enumerate(LABELS) if shared == "all" or label == row]
            if mine:
                v[row] = sum(g[i] for i in mine) / len(mine) / g.abs().sum() + 0.3 * v[row]
                u[row] = (u[row] + reach * v[row].sign()).clamp(-reach, reach)
        torch.testing.assert_close(method.velocity, v)
        torch.testing.assert_close(method.universal, u)


def linear() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).double()


def test_the_attack_starts_where_its_class_leads_within_the_ball() -> None:
    method, data = bound(), batch()
    perturbed = method.perturb(linear(), data)
    expected = (data.images + method.universal[data.labels].clamp(-EPS, EPS)).clamp(0, 1)
    torch.testing.assert_close(perturbed.initial, expected)
    method.threat.check(perturbed.images, data.images)


def test_an_attack_in_train_mode_leaves_the_statistics_to_the_loss() -> None:
    method = bound(attack=GradientAttack(steps=1, start="clean", mode="train"))
    model = SmallCNN(4, 1, width=4).train()
    before = [buffer.clone() for buffer in model.buffers()]
    data = Batch(torch.rand(5, 1, 8, 8), torch.tensor(LABELS))
    perturbed = method.perturb(model, data)
    assert all(torch.equal(one, other) for one, other in zip(before, model.buffers(), strict=True))
    method.terms(model, data, perturbed)
    assert not all(torch.equal(one, other) for one, other in zip(before, model.buffers(), strict=True))


def test_what_a_user_may_forget() -> None:
    method = FGSMUAP().under(ThreatModel("linf", EPS))
    with pytest.raises(InputError, match=r"call method\.prepare\(model\)"):
        method.perturb(linear(), batch())


@pytest.mark.parametrize(
    ("settings", "name"), [({"lam": -1.0}, "lam"), ({"momentum": 1.0}, "momentum"), ({"reach": 0.0}, "reach")]
)
def test_settings_out_of_range(settings: dict, name: str) -> None:
    with pytest.raises(InputError, match=rf"method\.{name}: expected"):
        FGSMUAP(**settings)


def process(rank: int, folder: Path) -> None:
    store = f"file://{folder / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    method = bound()
    method.generator.manual_seed(rank)
    for step in range(3):
        mine = Batch(batch().images[rank::2], batch().labels[rank::2])
        method.perturb(linear(), mine)
        method.after_loss(mine, Perturbed(mine.images, gradient=gradient(step)[rank::2]))
    save_file({"universal": method.universal, "velocity": method.velocity}, folder / f"{rank}.safetensors")


@pytest.mark.nightly
def test_two_processes_are_one(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(process, (tmp_path,), nprocs=2, start_method="fork")
    method = bound()
    method.generator.manual_seed(0)  # the first process draws for all
    for step in range(3):
        method.perturb(linear(), batch())
        method.after_loss(batch(), Perturbed(batch().images, gradient=gradient(step)))
    for rank in range(2):
        found = load_file(tmp_path / f"{rank}.safetensors")
        torch.testing.assert_close(found["universal"], method.universal)
        torch.testing.assert_close(found["velocity"], method.velocity)
