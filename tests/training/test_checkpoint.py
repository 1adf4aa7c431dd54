from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from toughen.catalog import classes
from toughen.errors import RunError, ToughenWarning
from toughen.run import RunFolder
from toughen.training.checkpoint import drop_damaged, load_state, save_model, save_state

STATE = {
    "epoch": 3,
    "rate": 0.1,
    "none": None,
    "groups": [{"lr": 0.1, "params": [0, 1]}],
    "state": {0: {"momentum_buffer": torch.arange(3.0)}, 1: {"momentum_buffer": None}},
    "generator": torch.Generator().get_state(),
    "scalar": torch.tensor(2.5, dtype=torch.float64),
}


def test_nested_state_comes_back_with_its_types(tmp_path: Path) -> None:
    save_state(tmp_path / "last", STATE)
    loaded = load_state(tmp_path / "last")
    assert {k: v for k, v in loaded.items() if k not in ("state", "generator", "scalar")} == {
        k: v for k, v in STATE.items() if k not in ("state", "generator", "scalar")
    }
    assert list(loaded["state"]) == [0, 1]
    assert torch.equal(loaded["state"][0]["momentum_buffer"], torch.arange(3.0))
    assert torch.equal(loaded["generator"], STATE["generator"])
    assert loaded["scalar"].dtype == torch.float64
    assert loaded["scalar"].shape == ()


def test_shared_memory_and_other_layouts_are_saved(tmp_path: Path) -> None:
    base = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    save_state(tmp_path / "last", {"a": base, "b": base, "part": base[0]})
    loaded = load_state(tmp_path / "last")
    assert torch.equal(loaded["a"], base)
    assert torch.equal(loaded["part"], base[0])


def test_needs_no_pickle(tmp_path: Path) -> None:
    save_state(tmp_path / "last", STATE)
    assert sorted(file.name for file in (tmp_path / "last").iterdir()) == [
        "manifest.json",
        "state.json",
        "tensors.safetensors",
    ]
    assert len(load_file(tmp_path / "last" / "tensors.safetensors")) == 3


def test_a_new_checkpoint_replaces_the_old_and_a_failing_one_does_not(tmp_path: Path) -> None:
    save_state(tmp_path / "last", {"epoch": 1})
    save_state(tmp_path / "last", {"epoch": 2})
    with pytest.raises(TypeError):
        save_state(tmp_path / "last", {"epoch": 3, "bad": object()})
    assert load_state(tmp_path / "last") == {"epoch": 2}
    assert load_state(tmp_path / "previous") == {"epoch": 1}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last", "previous"]


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bit_flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [cut_short, bit_flipped, Path.unlink])
@pytest.mark.parametrize("file", ["state.json", "tensors.safetensors"])
def test_damage_is_named_and_the_checkpoint_before_is_read(
    tmp_path: Path, file: str, harm: Callable[[Path], None]
) -> None:
    save_state(tmp_path / "last", STATE)
    harm(tmp_path / "last" / file)
    with pytest.raises(RunError, match=rf"damaged.*{file}.*--overwrite"):
        load_state(tmp_path / "last")
    save_state(tmp_path / "last", {"epoch": 4})
    save_state(tmp_path / "last", STATE)
    harm(tmp_path / "last" / file)
    with pytest.warns(ToughenWarning, match=rf"damaged.*{file}.*goes on from the one before it, .*previous"):
        assert load_state(tmp_path / "last") == {"epoch": 4}
    drop_damaged(tmp_path / "last")
    save_state(tmp_path / "last", {"epoch": 5})
    assert load_state(tmp_path / "previous") == {"epoch": 4}, "no damaged one takes its place"


def test_a_checkpoint_of_an_older_version_has_no_manifest_and_is_read(tmp_path: Path) -> None:
    save_state(tmp_path / "last", {"epoch": 1})
    (tmp_path / "last" / "manifest.json").unlink()
    assert load_state(tmp_path / "last") == {"epoch": 1}


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no checkpoint"):
        load_state(tmp_path / "last")


def test_a_kill_between_the_two_renames_leaves_the_old_checkpoint_usable(tmp_path: Path) -> None:
    save_state(tmp_path / "last", {"epoch": 1})
    (tmp_path / "last").rename(tmp_path / ".last.old")  # where a kill in the middle of a replacement leaves it
    assert load_state(tmp_path / "last") == {"epoch": 1}
    save_state(tmp_path / "last", {"epoch": 2})
    assert load_state(tmp_path / "last") == {"epoch": 2}


def test_tied_weights_are_saved_and_stay_tied(tmp_path: Path) -> None:
    def tied() -> nn.Sequential:
        network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        network[1].weight = network[0].weight
        return network

    saved, loaded, x = tied(), tied(), torch.rand(2, 4)
    save_model(RunFolder(tmp_path), saved, {})
    loaded.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert loaded[1].weight is loaded[0].weight
    assert torch.equal(loaded(x), saved(x))


@pytest.mark.parametrize(
    "name", [name for name in classes("optimizers") if name not in ("LBFGS", "Muon", "SparseAdam")]
)
def test_the_state_of_every_optimiser_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    make: Any = getattr(torch.optim, name)
    weights = [nn.Parameter(torch.linspace(-1, 1, 6).view(2, 3)), nn.Parameter(torch.ones(3))]

    def steps(weights: list[nn.Parameter], optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            for weight in weights:
                weight.grad = weight.detach().sin()
            optimizer.step()

    whole = make(weights, lr=0.1)
    steps(weights, whole, 3)
    save_state(tmp_path / "last", {"optimizer": whole.state_dict()})
    resumed = [nn.Parameter(weight.detach().clone()) for weight in weights]
    optimizer = make(resumed, lr=0.5)
    optimizer.load_state_dict(load_state(tmp_path / "last")["optimizer"])
    steps(weights, whole, 3)
    steps(resumed, optimizer, 3)
    assert all(torch.equal(a, b) for a, b in zip(weights, resumed, strict=True))
