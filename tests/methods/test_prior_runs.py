"""The memory of every image in whole runs: what is saved of it, resuming, and several processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stopping import StopAt

from toughen import train
from toughen.data import Augment
from toughen.methods import FGSMPGK, Method, RegMix
from toughen.models import SmallCNN
from toughen.training import Interrupted, SuccessEMA

RUN = {
    "epochs": 2,
    "budget": "none",
    "trackers": [],
    "device": "cpu",
    "batch_size": 256,
    "augment": Augment(crop=1, flip=True),
    "model": SmallCNN,
}


def checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / "last" / "tensors.safetensors")


@pytest.mark.parametrize(
    ("method", "average"),
    [
        pytest.param(FGSMPGK(), SuccessEMA(), id="fgsm_pgk"),
        pytest.param(RegMix(), None, id="regmix", marks=pytest.mark.nightly),
    ],
)
def test_stopped_in_the_middle_of_an_epoch_and_resumed_is_bit_identical(
    tmp_path: Path, method: Method, average: SuccessEMA | None
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(**RUN, method=method, average=average, out=str(whole))
    with pytest.raises(Interrupted):
        train(**RUN, method=method, average=average, out=str(stopped), observer=StopAt(8))
    middle = checkpoint(stopped)
    train(resume=str(stopped))
    one, other = checkpoint(whole), checkpoint(stopped)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    memory = next(name for name in one if name.endswith("perturbation"))
    assert not torch.equal(middle[memory], one[memory])
    assert (whole / "model.safetensors").read_bytes() == (stopped / "model.safetensors").read_bytes()


def test_the_memory_is_in_the_checkpoint_and_not_in_the_model(tmp_path: Path) -> None:
    train(**RUN, method=FGSMPGK(), out=str(tmp_path / "a"))
    kept = {name.rpartition("/")[2]: tensor for name, tensor in checkpoint(tmp_path / "a").items()}
    assert kept["perturbation"].shape == kept["velocity"].shape == (1437, 1, 8, 8)
    assert kept["perturbation"].dtype == torch.float16
    assert kept["known"].sum() == 1437 - 143  # the training images; those held out were never seen
    trained = train(resume=str(tmp_path / "a")).model
    assert set(load_file(tmp_path / "a" / "model.safetensors")) == set(trained.state_dict())
    assert not any("perturbation" in name for name in trained.state_dict())


@pytest.mark.nightly
def test_two_processes_keep_one_memory(tmp_path: Path) -> None:
    worker = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, str(worker), str(tmp_path)]
    processes = [
        subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for rank in range(2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    results = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    for name in ("perturbation", "velocity", "known", "held", "together"):
        assert torch.equal(results[0][name], results[1][name]), name
    # Shares of a batch give the same signs as the batch, but for gradients that rounding moves across 0.
    same = (results[0]["together"] == results[0]["alone"]).float().mean()
    assert same > 0.999
    # The loop does not copy the first process's memory over the other's.
    assert [float(result["marked"]) for result in results] == [0.0, 1.0]
