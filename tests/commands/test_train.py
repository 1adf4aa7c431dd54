"""Whole runs on real images, small enough to take seconds."""

import csv
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from stopping import StopAt
from torch import nn

from toughen import train
from toughen.attacks import GradientAttack
from toughen.data import Augment, Digits, split_validation
from toughen.errors import DivergedError, InputError, RunError, ToughenWarning
from toughen.evaluation import load_model
from toughen.methods import TRADES, Method, Perturbed, Standard, Term, Terms
from toughen.models import Normalize, SmallCNN
from toughen.run import RunFolder
from toughen.settings.trust import trusting
from toughen.training import EMA, SGD, SWA, Constant, Guards, Interrupted
from toughen.training.cost import COLUMNS

QUICK = {"epochs": 2, "budget": "none", "trackers": [], "device": "cpu", "batch_size": 256}


def small(num_classes: int, in_channels: int) -> nn.Module:
    return SmallCNN(num_classes, in_channels, width=4)


def trades() -> TRADES:
    return TRADES(attack=GradientAttack(steps=2, start="normal"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / "last" / "tensors.safetensors")


def same(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_folder_is_complete(tmp_path: Path) -> None:
    settings = {**QUICK, "batch_size": 64, "budget": "quick", "test_images": 50}
    os.umask(umask := os.umask(0))
    trained = train(model=SmallCNN, method=trades(), out=str(tmp_path / "a"), **settings)
    folder = trained.folder
    for path in (folder.config, folder.metrics, folder.model, folder.verdicts, folder.result, folder.report):
        assert path.is_file(), path
    written = [path for path in folder.path.rglob("*") if path.is_file() and "tensorboard" not in path.parts]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o666 & ~umask}  # whoever may read the folder
    assert folder.read_shape() == (1, 8, 8)
    rows = list(csv.DictReader(folder.metrics.open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"loss/natural", "loss/robust_kl", "val_clean", "val_pgd", "images_per_second", "lr"} <= set(rows[0])
    assert trained.evaluation.result["robust_accuracy"]["n"] == 50
    robust = f"{100 * trained.evaluation.verdicts.robust().mean():.1f} %"
    assert repr(trained).startswith(f"Trained(run: {folder.path}, clean accuracy: ")
    assert f", robust accuracy: {robust} (" in repr(trained)
    assert "\n" not in repr(trained)
    assert trained._repr_html_().count("<tr>") == 4
    assert f"<th>robust accuracy</th><td>{robust} (" in trained._repr_html_()


def test_a_run_without_normalisation_is_evaluated_without_it(tmp_path: Path) -> None:
    trained = train(model=small, method=trades(), out=str(tmp_path / "run"), normalize=False, **QUICK)
    assert not any(isinstance(module, Normalize) for module in trained.model.modules())
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), trusting([__name__]):
        torch.testing.assert_close(load_model(trained.folder)(images), trained.model(images))


def test_same_seed_same_run_and_another_seed_another(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.rand(1)  # what the caller drew before does not matter
        train(model=small, method=trades(), seed=seed, out=str(tmp_path / name), **QUICK)
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_the_callers_random_numbers_and_objects_are_left_alone(tmp_path: Path) -> None:
    method, network = trades(), small(10, 1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(model=network, method=method, out=str(tmp_path / "a"), guards=Guards(overfitting=False), **QUICK)
    assert torch.equal(torch.rand(3), expected)
    assert method.generator is None
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("changed", "number"),
    [
        pytest.param({}, signal.SIGUSR1, id="plain", marks=pytest.mark.nightly),
        pytest.param({"average": EMA(decay=0.9)}, signal.SIGTERM, id="ema", marks=pytest.mark.nightly),
        pytest.param({"average": SWA(start=1)}, signal.SIGUSR1, id="swa"),
        pytest.param(
            {"optimizer": partial(torch.optim.AdamW, lr=1e-3, amsgrad=True), "decay_all": False},
            signal.SIGTERM,
            id="adamw",
        ),
    ],
)
def test_stopped_in_the_middle_of_an_epoch_and_resumed_is_bit_identical(
    tmp_path: Path, changed: dict, number: int
) -> None:
    settings = {**QUICK, "model": SmallCNN, "method": trades(), "accumulate": 2, **changed}
    train(**settings, out=str(tmp_path / "whole"))
    stopped = str(tmp_path / "stopped")
    with pytest.raises(Interrupted, match=f"toughen train --resume {stopped}"):
        train(**settings, out=stopped, observer=StopAt(9, number))
    assert RunFolder(stopped).metrics.read_text().count("\n") == 2  # the header and one whole epoch
    train(resume=stopped)
    assert same(tmp_path / "whole", tmp_path / "stopped")
    whole, resumed = (list(csv.DictReader((tmp_path / name / "metrics.csv").open())) for name in ("whole", "stopped"))
    for a, b in zip(whole, resumed, strict=True):
        assert a.keys() == b.keys()
        assert all(a[name] == b[name] for name in a if name not in COLUMNS[:-1])
    assert (tmp_path / "whole/model.safetensors").read_bytes() == (tmp_path / "stopped/model.safetensors").read_bytes()


def test_an_optimiser_made_by_a_function_trains_alike_but_cannot_be_resumed(tmp_path: Path) -> None:
    settings = {**QUICK, "epochs": 1, "model": small, "method": Standard()}
    train(**settings, optimizer=partial(torch.optim.AdamW, lr=1e-2), out=str(tmp_path / "partial"))
    train(**settings, optimizer=lambda params: torch.optim.AdamW(params, lr=1e-2), out=str(tmp_path / "lambda"))
    assert same(tmp_path / "partial", tmp_path / "lambda")
    with pytest.raises(
        InputError, match="<lambda>' was a lambda .* which cannot be imported again; give a function or"
    ):
        train(resume=str(tmp_path / "lambda"), trust=[__name__])


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    train(model=SmallCNN, method=trades(), out=str(tmp_path / "a"), **QUICK)
    before = (tmp_path / "a/model.safetensors").read_bytes()
    trained = train(resume=str(tmp_path / "a"))
    assert (tmp_path / "a/model.safetensors").read_bytes() == before
    images = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(load_model(trained.folder)(images), trained.model(images))


def test_config_is_complete(tmp_path: Path) -> None:
    train(model=SmallCNN, method=trades(), out=str(tmp_path / "a"), **QUICK)
    config = yaml.safe_load((tmp_path / "a/config.yaml").read_text())
    assert config["model"]["init_args"] == {"num_classes": 10, "in_channels": 1}
    assert config["method"]["init_args"]["attack"]["init_args"]["steps"] == 2
    assert config["val_images"] == 143
    assert {"data", "threat", "epochs", "optimizer", "schedule", "seed", "precision"} <= set(config)


class Linear(nn.Sequential):
    """No BatchNorm: a batch is the sum of its images."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))


def test_accumulated_gradients_are_those_of_one_large_batch(tmp_path: Path) -> None:
    settings = {
        **QUICK,
        "model": Linear,
        "method": Standard(),
        "val_images": 157,
        "optimizer": SGD,
    }
    settings["augment"] = Augment(crop=0, flip=False)
    train(**{**settings, "batch_size": 256}, out=str(tmp_path / "whole"))
    train(**{**settings, "batch_size": 128, "accumulate": 2}, out=str(tmp_path / "halves"))
    a, b = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    name = next(name for name in a if name.endswith("1.weight"))
    torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)


def test_gradient_clipping_bounds_the_update(tmp_path: Path) -> None:
    moved = []
    for name, clip in (("free", None), ("clipped", 1e-4)):
        network = Linear(10, 1)
        nn.init.constant_(network[1].weight, 0.1)
        before = network[1].weight.detach().clone()
        trained = train(
            model=network,
            method=Standard(),
            optimizer=partial(SGD, lr=1.0, momentum=0, weight_decay=0),
            schedule=Constant(),
            clip_grad_norm=clip,
            out=str(tmp_path / name),
            **{**QUICK, "epochs": 1, "batch_size": 1437 - 143},
        )
        moved.append((trained.model[1].weight - before).norm().item())
    assert moved[0] > 0.01
    assert 0 < moved[1] <= 1.001e-4


class Explodes(Method):
    """Goes wrong at a chosen step."""

    def __init__(self, step: int = 8) -> None:
        super().__init__()
        self.step = step
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def perturb(self, model: nn.Module, batch: object) -> Perturbed:
        self.seen += 1
        return Perturbed(batch.images)

    def terms(self, model: nn.Module, batch: object, perturbed: Perturbed) -> Terms:
        logits = model(perturbed.images)
        return {"fine": Term(logits.sum(1)), "boom": Term(logits.sum(1) / (self.seen != self.step))}


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with (
        pytest.warns(ToughenWarning),
        pytest.raises(DivergedError, match=r"'boom' became NaN or infinite at step 8.*is kept.*--optimizer.lr"),
    ):
        train(model=small, method=Explodes(8), out=str(tmp_path / "a"), **QUICK)
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "a").values())
    assert RunFolder(tmp_path / "a").metrics.read_text().count("\n") == 2


def test_an_existing_run_is_refused_unless_told(tmp_path: Path) -> None:
    out = str(tmp_path / "a")
    train(model=small, method=Standard(), out=out, **QUICK)
    with pytest.raises(RunError, match="exists and is not empty"):
        train(model=small, method=Standard(), out=out, **QUICK)
    train(model=small, method=Standard(), out=out, overwrite=True, **QUICK)


def test_an_earlier_run_is_not_lost_to_a_wrong_setting(tmp_path: Path) -> None:
    train(model=small, method=Standard(), out=str(tmp_path / "a"), **QUICK)
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="train_images"):
        train(
            model=small, method=Standard(), out=str(tmp_path / "a"), overwrite=True, **{**QUICK, "train_images": 10**9}
        )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "a"
    train(model=SmallCNN, method=Standard(), out=str(out), **QUICK)
    config = yaml.safe_load((out / "config.yaml").read_text())
    config["model"]["init_args"]["width"] = 5
    (out / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(RunError, match="(?s)not what the run was begun with.*width.*now 5"):
        train(resume=str(out))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "--epochs: expected at least 1, got 0"),
        ({"batch_size": -1}, "--batch_size"),
        ({"device": "cuda:7"}, "--device: expected .* got 'cuda:7', which"),
        ({"device": "gpu"}, "device"),
        ({"budget": "standart"}, "--budget: unknown 'standart'; did you mean 'standard'"),
        ({"sample": "last"}, "--sample: unknown 'last'"),
        ({"model": lambda num_classes: nn.Linear(3, 3)}, "the model cannot take images of 1 x 8 x 8"),
        (
            {"model": lambda num_classes: nn.Sequential(nn.Flatten(), nn.Linear(64, 7))},
            r"output is \(2, 7\), expected",
        ),
    ],
)
def test_bad_settings(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(data=Digits(), method=Standard(), out=str(tmp_path / "a"), **{**QUICK, "model": small, **settings})


def test_resume_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        train(resume=str(tmp_path / "none"))


def test_bf16_trains(tmp_path: Path) -> None:
    train(model=small, method=trades(), precision="bf16", out=str(tmp_path / "a"), **QUICK)
    rows = list(csv.DictReader((tmp_path / "a/metrics.csv").open()))
    assert float(rows[1]["loss/natural"]) < float(rows[0]["loss/natural"])
    assert all(
        t.dtype == torch.float32 for n, t in load_file(tmp_path / "a/model.safetensors").items() if "weight" in n
    )


def test_the_checkpoint_is_chosen_by_what_the_method_trains_for(tmp_path: Path) -> None:
    for name, method, figure in (("standard", Standard(), "val_clean"), ("robust", trades(), "val_pgd")):
        out = tmp_path / name
        train(model=SmallCNN, method=method, out=str(out), **{**QUICK, "epochs": 6}, optimizer=partial(SGD, lr=0.5))
        rows = list(csv.DictReader((out / "metrics.csv").open()))
        best = max(rows, key=lambda row: (float(row[figure]), int(row["epoch"])))
        other = "val_pgd" if figure == "val_clean" else "val_clean"
        ties = [row for row in rows if row[figure] == best[figure]]
        best = max(ties, key=lambda row: (float(row[other]), int(row["epoch"])))
        reported = load_model(RunFolder(out))
        images = Digits().load("train")
        held_out = split_validation(images.labels, 143, 0)[1]
        x, y = images.subset(held_out)
        with torch.no_grad():
            accuracy = (reported(x).argmax(1) == y).float().mean().item()
        assert accuracy == pytest.approx(float(best["val_clean"]))
