"""What works with every method: weight perturbation, softened and mixed labels, extra images."""

import copy
import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from stopping import StopAt
from torch import Tensor, nn
from torch.nn import functional as F

from toughen import train
from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.commands.trainings.extra import hold_with_extra
from toughen.data import Augment, CutMix, Digits, ExtraImages, Loader, split_validation
from toughen.errors import DataError, InputError, RunError
from toughen.methods import FGSMPGI, TRADES, ARoW, Method, Perturbed, Standard, Term, Terms
from toughen.models import ResNet18, SmallCNN
from toughen.run import RunFolder
from toughen.training import AWP, SGD, Constant, Interrupted

QUICK = {"epochs": 2, "budget": "none", "trackers": [], "device": "cpu", "batch_size": 256}
SMALL = {**QUICK, "batch_size": 64, "train_images": 300, "val_images": 20, "model": partial(SmallCNN, width=4)}


def trades() -> TRADES:
    return TRADES(attack=GradientAttack(steps=2, start="normal"))


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "checkpoints" / "last" / "tensors.safetensors")


def same(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").open()))


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """The test scans as extra images, with their labels: 360 of digits that training has not seen."""
    test = Digits().load("test")
    path = tmp_path / "extra.npz"
    np.savez(path, image=test.images.take(torch.arange(360)).numpy().transpose(0, 2, 3, 1), label=test.labels.numpy())
    return path


@pytest.fixture
def unlabelled(npz: Path) -> Path:
    path = npz.with_name("unlabelled.npz")
    with np.load(npz) as arrays:
        np.savez(path, image=arrays["image"])
    return path


OPTIONS = {
    "awp": {"awp": AWP(gamma=0.01, start=2)},
    "label_smoothing": {"label_smoothing": 0.1},
    "cutmix": {"cutmix": CutMix(alpha=0.7, probability=0.6)},
    "extra": {"extra": 0.6},
    "all": {"awp": AWP(start=1), "label_smoothing": 0.1, "cutmix": CutMix(), "extra": 0.4, "accumulate": 2},
}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=() if name == "all" else pytest.mark.nightly)
        for name, options in OPTIONS.items()
    ],
)
@pytest.mark.parametrize("method", [trades(), FGSMPGI(factor=1.0)], ids=["TRADES", "FGSMPGI"])
def test_stopped_and_resumed_is_bit_identical(tmp_path: Path, npz: Path, options: dict, method: Method) -> None:
    if "extra" in options:
        options = {**options, "extra": ExtraImages(str(npz), fraction=options["extra"])}
    settings = {**SMALL, "method": method, **options}
    train(**settings, out=str(tmp_path / "whole"))
    per_epoch = int(rows(tmp_path / "whole")[0]["step"])
    with pytest.raises(Interrupted):
        train(**settings, out=str(tmp_path / "stopped"), observer=StopAt(per_epoch + 2))
    train(resume=str(tmp_path / "stopped"))
    assert same(tmp_path / "whole", tmp_path / "stopped")
    assert (tmp_path / "whole/model.safetensors").read_bytes() == (tmp_path / "stopped/model.safetensors").read_bytes()


def test_each_option_changes_the_run(tmp_path: Path, npz: Path) -> None:
    settings = {**SMALL, "method": trades()}
    train(**settings, out=str(tmp_path / "none"))
    for name, options in OPTIONS.items():
        if "extra" in options:
            options = {**options, "extra": ExtraImages(npz, fraction=options["extra"])}
        train(**settings, **options, out=str(tmp_path / name))
        assert not same(tmp_path / "none", tmp_path / name), name


class Linear(nn.Sequential):
    """No BatchNorm, two weight matrices and their biases."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64 * in_channels, 12), nn.Tanh(), nn.Linear(12, num_classes))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("start", [1, 2])
def test_steps_with_awp_are_the_published_ones_without_their_rounding(
    tmp_path: Path, accumulate: int, start: int
) -> None:
    """Two epochs of two batches, against a plain loop."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Linear(10, 1)
    settings = {**QUICK, "batch_size": 647, "accumulate": accumulate, "augment": Augment(crop=0, flip=False)}
    sgd = {"optimizer": partial(SGD, lr=0.5, momentum=0, weight_decay=0), "schedule": Constant()}
    awp = AWP(gamma=0.1, start=start)
    train(model=network, method=Standard(), awp=awp, out=str(tmp_path / "a"), **settings, **sgd)
    state = weights(tmp_path / "a")
    trained = {name.removeprefix("/model/"): tensor for name, tensor in state.items() if name.startswith("/model/")}

    digits = Digits().load("train")
    indices, _ = split_validation(digits.labels, 143, 0)
    loader = Loader(digits, indices, 647, device="cpu", shuffle=True)
    network = copy.deepcopy(network)
    for epoch in range(2):
        gradients = [torch.zeros_like(weight) for weight in network.parameters()]
        for place, batch in enumerate(loader):
            kept = [weight.detach().clone() for weight in network.parameters()]
            if epoch + 1 >= start:
                loss = F.cross_entropy(network(batch.images), batch.labels)
                uphill = torch.autograd.grad(loss, list(network.parameters()))
                with torch.no_grad():
                    for weight, g in zip(network.parameters(), uphill, strict=True):
                        if weight.ndim > 1:
                            weight += 0.1 * weight.norm() * g / g.norm()
            loss = F.cross_entropy(network(batch.images), batch.labels)
            for sums, g in zip(gradients, torch.autograd.grad(loss, list(network.parameters())), strict=True):
                sums += g / accumulate
            with torch.no_grad():
                for weight, old in zip(network.parameters(), kept, strict=True):
                    weight.copy_(old)
            if (place + 1) % accumulate == 0:
                with torch.no_grad():
                    for weight, g in zip(network.parameters(), gradients, strict=True):
                        weight -= 0.5 * g
                gradients = [torch.zeros_like(weight) for weight in network.parameters()]
    for name, weight in network.named_parameters():
        torch.testing.assert_close(trained[name], weight.detach(), rtol=1e-4, atol=1e-6)


class Recorder(Method):
    """Standard training that writes down what it is given."""

    defends = False
    seen: list[Batch] = []  # noqa: RUF012 - the run trains a copy of the method

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        Recorder.seen.append(batch)
        return Perturbed(batch.images)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        return {"ce": Term(F.cross_entropy(model(batch.images), batch.target, reduction="none"))}


@pytest.fixture
def seen() -> list[Batch]:
    Recorder.seen.clear()
    return Recorder.seen


def test_the_method_sees_mixed_images_and_soft_targets(tmp_path: Path, seen: list[Batch]) -> None:
    settings = {**SMALL, "epochs": 3, "method": Recorder(), "augment": Augment(crop=0, flip=False)}
    train(**settings, out=str(tmp_path / "a"), label_smoothing=0.2, cutmix=CutMix(probability=0.5))
    digits = Digits().load("train")
    mixed = 0
    for batch in seen:
        images, labels = digits.subset(batch.indices)
        hard = F.one_hot(labels, 10)
        changed = not torch.equal(batch.images, images)
        mixed += changed
        torch.testing.assert_close(batch.target.sum(1), torch.ones(len(batch)))
        if not changed:
            torch.testing.assert_close(batch.target, 0.8 * hard + 0.02)
            assert torch.equal(batch.labels, labels)
        assert (batch.target.gather(1, batch.labels[:, None]).squeeze(1) >= batch.target.amax(1) - 1e-6).all()
    assert 0 < mixed < len(seen)


def test_batches_of_extra_images_and_a_memory_of_each(tmp_path: Path, npz: Path, seen: list[Batch]) -> None:
    extra = ExtraImages(npz, fraction=0.25)
    settings = {**SMALL, "augment": Augment(crop=0, flip=False)}
    train(method=Recorder(), extra=extra, out=str(tmp_path / "a"), **settings)
    digits, test = Digits().load("train"), Digits().load("test")
    for batch in seen:
        own = batch.indices < 1437
        images, labels = digits.subset(batch.indices[own])
        assert torch.equal(batch.images[own], images)
        assert torch.equal(batch.labels[own], labels)
        images, labels = test.subset(batch.indices[~own] - 1437)
        assert torch.equal(batch.images[~own], images)
        assert torch.equal(batch.labels[~own], labels)
    counts = [(int((batch.indices < 1437).sum()), int((batch.indices >= 1437).sum())) for batch in seen]
    assert counts == 2 * [*[(48, 16)] * 6, (12, 4)]
    assert int(rows(tmp_path / "a")[0]["step"]) == 7

    train(method=FGSMPGI(), extra=extra, out=str(tmp_path / "b"), **settings)
    memory = weights(tmp_path / "b")["/method/known"]
    assert memory.shape == (1437 + 360,)
    assert memory[1437:].any()


def test_pseudo_labels_are_those_of_the_other_run_and_given_once(
    tmp_path: Path, unlabelled: Path, seen: list[Batch]
) -> None:
    teacher = train(method=Standard(), out=str(tmp_path / "teacher"), **SMALL)
    images = Digits().load("test").subset(torch.arange(360))[0]
    with torch.no_grad():
        expected = teacher.model(images).argmax(1)
    extra = ExtraImages(str(unlabelled), fraction=0.5, pseudo_labeller=str(tmp_path / "teacher"))
    settings = {**SMALL, "method": Recorder(), "extra": extra}
    with pytest.raises(Interrupted):
        train(**settings, out=str(tmp_path / "student"), observer=StopAt(3))
    for batch in seen:
        of_extra = batch.indices >= 1437
        assert torch.equal(batch.labels[of_extra], expected[batch.indices[of_extra] - 1437])
    file = tmp_path / "student" / "pseudo_labels.safetensors"
    assert torch.equal(load_file(file)["labels"], expected)
    (tmp_path / "teacher" / "model.safetensors").unlink()  # a resumed run does not ask again
    train(resume=str(tmp_path / "student"), trust=[__name__])

    with pytest.raises(RunError, match="no run folder"):
        train(**{**settings, "extra": ExtraImages(unlabelled, pseudo_labeller=tmp_path / "x")}, out=str(tmp_path / "b"))
    with pytest.raises(DataError, match=r"has no 'label'; give --extra\.pseudo_labeller"):
        train(**{**settings, "extra": ExtraImages(unlabelled)}, out=str(tmp_path / "c"))


def test_giving_pseudo_labels_draws_nothing_of_the_runs(tmp_path: Path, unlabelled: Path) -> None:
    """A run that was killed after them, before its first checkpoint, reads them, and goes on with the same draws."""
    train(method=Standard(), out=str(tmp_path / "teacher"), **SMALL)
    training_set, student = Digits().load("train"), RunFolder(tmp_path / "student")
    student.create()
    student.write_config({})
    extra = ExtraImages(str(unlabelled), pseudo_labeller=str(tmp_path / "teacher"))
    before = torch.get_rng_state()
    hold_with_extra(extra, training_set, student, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pseudo_labeller_of_other_classes(tmp_path: Path, unlabelled: Path) -> None:
    def five(tensor: Tensor) -> Tensor:
        return tensor[:5].contiguous() if tensor.shape[:1] == (10,) else tensor

    teacher = train(method=Standard(), out=str(tmp_path / "teacher"), **SMALL)
    config = yaml.safe_load(teacher.folder.config.read_text())
    config["model"]["init_args"]["num_classes"] = 5
    teacher.folder.config.write_text(yaml.safe_dump(config))
    save_file({name: five(tensor) for name, tensor in load_file(teacher.folder.model).items()}, teacher.folder.model)
    (teacher.folder.path / "manifest.json").unlink()
    extra = ExtraImages(unlabelled, pseudo_labeller=tmp_path / "teacher")
    with pytest.raises(InputError, match=r"output is \(2, 5\), expected \(2, 10\)"):
        train(method=Standard(), extra=extra, out=str(tmp_path / "a"), **SMALL)


def test_a_last_batch_of_one_image_is_no_trouble_for_batchnorm(tmp_path: Path, seen: list[Batch]) -> None:
    settings = {**QUICK, "batch_size": 8, "train_images": 17, "val_images": 20}

    def narrow(num_classes: int, in_channels: int) -> nn.Module:
        return ResNet18(num_classes, in_channels, width=4)

    train(model=narrow, method=Recorder(), out=str(tmp_path / "a"), **settings)
    assert [len(batch) for batch in seen] == [8, 9, 8, 9]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_smoothing": 1.0}, r"--label_smoothing: expected a number from 0 to below 1 such as 0\.1, got 1\.0"),
        ({"label_smoothing": -0.1}, "--label_smoothing"),
        ({"awp": AWP(start=3)}, r"--awp\.start: weights would be moved from epoch 3 on, but the run has 2"),
        (
            {"label_smoothing": 0.1, "method": ARoW()},
            r"ARoW softens labels itself.* drop --label_smoothing, or add --method\.smoothing 0",
        ),
        ({"label_smoothing": 0.1, "method": FGSMPGI()}, r"or add --method\.factor 1"),
    ],
)
def test_bad_settings(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(**{"method": Standard(), **SMALL, **settings}, out=str(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_a_methods_own_smoothing_may_be_switched_off(tmp_path: Path) -> None:
    method = ARoW(smoothing=0, attack=GradientAttack(steps=1))
    train(method=method, label_smoothing=0.2, out=str(tmp_path / "a"), **SMALL)
    assert (tmp_path / "a/model.safetensors").exists()
