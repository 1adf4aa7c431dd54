"""Each example's loop ends with the weights that `toughen.train` ends with on the same batches."""

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

import toughen
from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.commands.trainings.assemble import run_generators
from toughen.data import Augment
from toughen.methods import FGSMPGI, LBGAT, Method
from toughen.models import SmallCNN
from toughen.threat import ThreatModel
from toughen.training import EMA, SGD, Constant, Trainer
from toughen.training.updates import Updates

EXAMPLES = Path(__file__).parents[2] / "examples"
THREAT = ThreatModel("linf", 0.1)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Seen:
    """What a run of ours was given, and the weights that it reports."""

    network: nn.Module
    batches: list[Batch]
    first: tuple[Tensor, Tensor]
    images: int
    weights: dict[str, Tensor]

    def loader(self) -> DataLoader:
        rows = [(batch.images, batch.labels, batch.indices) for batch in self.batches]
        return DataLoader(rows, batch_size=None)

    def bound(self, method: Method) -> Method:
        """The method as it begins in the run; the global generator is where the run's is."""
        method = copy.deepcopy(method).under(THREAT, run_generators(0, 0, torch.device("cpu"))["attack"])
        method.allocate_memory(self.images, (1, 8, 8))
        torch.manual_seed(0)
        return method

    def assert_same(self, network: nn.Module) -> None:
        theirs = network.state_dict()
        assert theirs.keys() == self.weights.keys()
        for name, tensor in self.weights.items():
            torch.testing.assert_close(
                theirs[name], tensor, rtol=0, atol=2e-6, msg=lambda text, at=name: f"{at}: {text}"
            )
        begun = dict(self.network.named_parameters())
        assert all((tensor - begun[name]).abs().max() > 1e-3 for name, tensor in self.weights.items() if name in begun)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Seen]:
    def train(method: Method, **settings: Any) -> Seen:
        batches: list[Batch] = []
        trainers: list[Trainer] = []
        take, fit = Updates.take, Trainer.fit

        def taken(self: Updates, batch: Batch, *place: Any) -> Any:
            batches.append(batch)
            return take(self, batch, *place)

        def fitted(self: Trainer) -> None:
            trainers.append(self)
            fit(self)

        monkeypatch.setattr(Updates, "take", taken)
        monkeypatch.setattr(Trainer, "fit", fitted)
        torch.manual_seed(1)
        network = SmallCNN(10, 1, width=4)
        given: dict[str, Any] = {"optimizer": partial(SGD, lr=0.05), "out": str(tmp_path / "run"), **settings}
        toughen.train(
            toughen.data.Digits(), network, method, THREAT, epochs=1, batch_size=64, schedule=Constant(),
            augment=Augment(0, False), train_images=320, val_images=40, select="last", precision="fp32", device="cpu",
            fast=False, guards=None, trackers=[], budget="none", **given,
        )  # fmt: skip
        batches = [Batch(each.images.contiguous(), each.labels, each.indices) for each in batches]
        images = len(toughen.data.Digits().load("train"))
        probe = trainers[0].batches.probe
        return Seen(
            network, batches, (probe.images, probe.labels), images, load_file(tmp_path / "run/model.safetensors")
        )

    return train


def test_plain_pytorch_with_a_memory_of_every_image_and_an_average(run: Callable[..., Seen]) -> None:
    seen = run(FGSMPGI(), average=EMA(0.9))
    method = seen.bound(FGSMPGI())
    seen.assert_same(example("plain_pytorch").train(copy.deepcopy(seen.network), method, seen.loader(), seen.first, 1))


def test_accelerate_with_a_guide_that_learns_too(run: Callable[..., Seen]) -> None:
    guided = LBGAT(attack=GradientAttack(steps=2, start="normal"))
    seen = run(guided)
    network = copy.deepcopy(seen.network)
    seen.assert_same(example("with_accelerate").train(network, seen.bound(guided), seen.loader(), seen.first, 1))


def test_the_loop_of_timm(run: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    # timm's sgd has Nesterov's momentum, and no weight decay on biases and normalisation; its EMA begins elsewhere.
    seen = run(FGSMPGI(), optimizer=partial(SGD, lr=0.05, nesterov=True), decay_all=False)
    module = example("with_timm")
    average = module.ModelEmaV3
    monkeypatch.setattr(module, "ModelEmaV3", lambda model, decay: average(model, decay=0.0))
    method, network = seen.bound(FGSMPGI()), copy.deepcopy(seen.network)
    seen.assert_same(module.train(network, method, seen.loader(), seen.first, 1, sched="step"))


@pytest.mark.nightly  # its import takes seconds
def test_lightning(run: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    guided = LBGAT(attack=GradientAttack(steps=2, start="normal"))
    seen = run(guided)
    module = example("with_lightning")
    plain = partial(module.lightning.Trainer, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    monkeypatch.setattr(module.lightning, "Trainer", plain)
    network = copy.deepcopy(seen.network)
    seen.assert_same(module.train(network, seen.bound(guided), seen.loader(), seen.first, 1))


@pytest.mark.nightly  # its import takes seconds
def test_the_trainer_of_transformers(run: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = run(FGSMPGI(), optimizer=partial(torch.optim.AdamW, lr=5e-3, weight_decay=0.0))
    module = example("with_hf_trainer")
    rows = [{"images": each.images, "labels": each.labels, "indices": each.indices} for each in seen.batches]
    monkeypatch.setattr(module.RobustTrainer, "get_train_dataloader", lambda trainer: DataLoader(rows, batch_size=None))
    settings = module.TrainingArguments(
        str(tmp_path / "hf"), learning_rate=5e-3, num_train_epochs=1, lr_scheduler_type="constant", max_grad_norm=0,
        optim="adamw_torch", save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, seed=0,
    )  # fmt: skip
    network, method = copy.deepcopy(seen.network), seen.bound(FGSMPGI())
    seen.assert_same(module.train(network, method, rows, seen.first, settings))


@pytest.mark.parametrize("name", [path.stem for path in sorted(EXAMPLES.glob("*.py"))])
def test_an_example_is_short(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 60
