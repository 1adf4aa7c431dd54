from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from toughen.errors import InputError, RunError
from toughen.models import (
    Classifier,
    Normalize,
    ResNet18,
    SmallCNN,
    WideResNet,
    build_model,
    check_outputs,
    load_weights,
    looks_like_probabilities,
    with_facts,
)

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.5]
LOGITS = torch.tensor([[3.0, -1.0, 0.5, 0.0], [0.1, 0.2, 0.3, 0.4], [-8.0, 9.0, 1.0, 2.0]])
IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def small(**settings: Any) -> nn.Module:
    return build_model(partial(SmallCNN, width=2, **settings), num_classes=5, in_channels=3, mean=MEAN, std=STD).eval()


class Own(nn.Module):
    """A user's network that is not told the number of classes, and normalises by itself."""

    def __init__(self, hidden: int = 4, in_chans: int = 3) -> None:
        super().__init__()
        self.hidden, self.in_chans = hidden, in_chans
        self.body = nn.Sequential(Normalize([0.1] * in_chans, [2.0] * in_chans), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        flat: Tensor = self.body(images)
        return flat[:, :5]


# Normalisation.


def test_normalize_is_plain_arithmetic() -> None:
    expected = (IMAGES.numpy() - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(STD, (1, 3, 1, 1))
    np.testing.assert_allclose(Normalize(MEAN, STD)(IMAGES), expected, rtol=1e-5)


def test_statistics_lie_among_the_weights_and_are_not_trained() -> None:
    normalize = Normalize(MEAN, STD)
    assert list(normalize.parameters()) == []
    assert {name: tensor.flatten().tolist() for name, tensor in normalize.state_dict().items()} == {
        "mean": pytest.approx(MEAN),
        "std": pytest.approx(STD),
    }


def test_classifier_is_the_network_of_normalised_images() -> None:
    model = small()
    assert isinstance(model, Classifier)
    network = model.get_submodule("network")
    assert isinstance(network, SmallCNN)
    with torch.no_grad():
        torch.testing.assert_close(model(IMAGES), network(Normalize(MEAN, STD)(IMAGES)))


# From a class and settings to a classifier.


def function(classes: int = 3) -> nn.Module:
    """Takes no fact at all."""
    return nn.Linear(1, classes)


@pytest.mark.parametrize(
    ("network", "keywords"),
    [
        (SmallCNN, {"num_classes": 7, "in_channels": 1}),
        (partial(SmallCNN, width=2), {"num_classes": 7, "in_channels": 1, "width": 2}),
        (partial(SmallCNN, num_classes=7, width=2), {"num_classes": 7, "in_channels": 1, "width": 2}),
        (partial(SmallCNN, 7, 1, width=2), {"num_classes": 7, "in_channels": 1, "width": 2}),
        (Own, {"in_chans": 1}),
        (partial(Own, hidden=9), {"hidden": 9, "in_chans": 1}),
        (partial(Own, 9), {"hidden": 9, "in_chans": 1}),
        (function, {}),
        (lambda num_classes: nn.Linear(1, num_classes), {"num_classes": 7}),
    ],
)
def test_facts_go_where_the_constructor_takes_them(network: Callable[..., nn.Module], keywords: dict[str, Any]) -> None:
    factory = with_facts(network, num_classes=7, in_channels=1)
    assert (factory.args, factory.keywords) == ((), keywords)
    assert factory.func is (network.func if isinstance(network, partial) else network)
    assert isinstance(factory(), nn.Module)


def test_the_callers_partial_is_not_changed() -> None:
    given = partial(SmallCNN, width=2)
    with_facts(given, num_classes=7, in_channels=1)
    assert given.keywords == {"width": 2}


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (partial(SmallCNN, num_classes=1000), r"--model\.num_classes: the data have 7 classes, got 1000"),
        (partial(SmallCNN, 7, 4), r"--model\.in_channels: the data have 1 channels, got 4"),
        (partial(Own, in_chans=3), r"--model\.in_chans: the data have 1 channels, got 3"),
    ],
)
def test_other_classes_or_channels_than_the_datas_are_not_ignored(network: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_facts(network, num_classes=7, in_channels=1)


def test_a_network_that_normalises_by_itself_stays_as_it_is() -> None:
    built = build_model(Own, num_classes=5, in_channels=3, mean=MEAN, std=STD)
    assert isinstance(built, Own)
    torch.testing.assert_close(built(IMAGES), (IMAGES.flatten(1)[:, :5] - 0.1) / 2)


def test_a_network_may_see_the_images_as_they_are() -> None:
    bare = build_model(Own, num_classes=5, in_channels=3, mean=MEAN, std=STD, normalize=False)
    assert isinstance(bare, Own)  # one that normalises by itself goes on to do so
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = partial(SmallCNN, width=2)
        plain = build_model(network, num_classes=5, in_channels=3, mean=MEAN, std=STD, normalize=False).eval()
        torch.manual_seed(0)
        normalised = build_model(network, num_classes=5, in_channels=3, mean=MEAN, std=STD).eval()
    scaled = (IMAGES - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    torch.testing.assert_close(plain(scaled), normalised(IMAGES))


def test_a_ready_classifier_is_not_wrapped_twice() -> None:
    ready = small()
    assert build_model(lambda: ready, num_classes=5, in_channels=3, mean=MEAN, std=STD) is ready


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            partial(SmallCNN, **{"depth": 3}),
            r"--model toughen\.models\.small_cnn\.SmallCNN cannot be built with .*'depth': 3",
        ),
        (partial(WideResNet, depth=3), r"^model\.depth: expected 6 n \+ 4"),
    ],
)
def test_settings_that_the_network_does_not_take(network: Callable[..., nn.Module], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_model(network, num_classes=5, in_channels=3, mean=MEAN, std=STD)


# Outputs.


class Gives(nn.Module):
    """A model with this output, whatever the images; records the mode that it was called in."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output
        self.frozen = nn.BatchNorm2d(3).eval()
        self.called_in: list[bool] = []

    def forward(self, images: Tensor) -> Any:
        self.called_in.append(self.training)
        if isinstance(self.output, Exception):
            raise self.output
        return self.output


def flags(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_logits_are_returned_and_nothing_is_changed() -> None:
    model = small().train()
    model.get_submodule("network.features.1").eval()
    before, state = flags(model), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    logits = check_outputs(model, IMAGES, 5)
    assert flags(model) == before
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert not logits.requires_grad
    torch.testing.assert_close(logits, model.eval()(IMAGES))


@pytest.mark.parametrize(
    ("output", "came", "hint"),
    [
        (torch.zeros(4, 10), r"\(4, 10\)", r"set its number of classes \(--model\.num_classes\)"),
        (torch.zeros(4), r"\(4,\)", r"set its number of classes \(--model\.num_classes\)"),
        (torch.zeros(4, 5, 1, 1), r"\(4, 5, 1, 1\)", r"flatten it in the forward: `return logits\.flatten\(1\)`"),
        ((torch.zeros(4, 5), None), r"a tuple of 2 \(\(4, 5\), NoneType\)", r".*`return self\.model\(images\)\[0\]`"),
        ({"scores": torch.zeros(4, 5)}, "a dict of scores", r"give the model inside a module whose forward returns"),
        (None, "a NoneType", r"give the model inside a module whose forward returns the logits alone"),
    ],
)
def test_outputs_that_do_not_match_the_classes(output: Any, came: str, hint: str) -> None:
    expected = rf"the model's output is {came}, expected \(4, 5\): one logit for each of the data's 5 classes; "
    with pytest.raises(InputError, match=expected + hint):
        check_outputs(Gives(output), IMAGES, 5)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_logit_for_two_classes_is_told_how_to_become_two(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"torch\.stack\(\[torch\.zeros_like\(z\), z\], dim=1\)"):
        check_outputs(Gives(torch.zeros(shape)), IMAGES, 2)
    z = torch.tensor([-1.5, 0.0, 2.0])
    two = torch.stack([torch.zeros_like(z), z], dim=1).softmax(1)
    torch.testing.assert_close(two, torch.stack([1 - z.sigmoid(), z.sigmoid()], dim=1))  # what the message promises


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1"), ValueError("sizes"), TypeError("kind"), AssertionError("Input height")], ids=repr
)
def test_each_modules_flag_comes_back_after_an_error(error: Exception) -> None:
    model = Gives(error)
    with pytest.raises(InputError, match=rf"cannot take images of 3 x 8 x 8 \(C x H x W\): {error}$"):
        check_outputs(model, IMAGES, 5)
    assert model.called_in == [False]
    assert flags(model) == [True, False]


def test_images_that_the_network_cannot_take() -> None:
    with pytest.raises(InputError, match=r"the model cannot take images of 1 x 8 x 8 \(C x H x W\): "):
        check_outputs(SmallCNN(5, 3, width=2), IMAGES[:, :1], 5)


@pytest.mark.parametrize(
    ("outputs", "answer"),
    [
        (LOGITS.softmax(1), True),
        (LOGITS.double().softmax(1), True),
        (torch.eye(3), True),
        (LOGITS, False),
        (LOGITS.log_softmax(1), False),
        (LOGITS.sigmoid(), False),
        (torch.tensor([[2.0, -1.0], [0.5, 0.5]]), False),
        (torch.tensor([[0.5, 0.5], [0.5, 0.6]]), False),
    ],
)
def test_probabilities_are_told_from_logits(outputs: Tensor, answer: bool) -> None:
    assert looks_like_probabilities(outputs) is answer


# Saved weights.


def save(model: nn.Module, path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


def test_weights_come_back(tmp_path: Path) -> None:
    saved, fresh = small(), small()
    nn.init.constant_(saved.get_submodule("normalize").get_buffer("mean"), 0.7)
    loaded = load_weights(fresh, save(saved, tmp_path / "model.safetensors"))
    assert loaded is fresh
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), saved(IMAGES))


def test_weights_saved_without_our_normalisation_belong_to_the_network(tmp_path: Path) -> None:
    saved, model = SmallCNN(5, 3, width=2).eval(), small()
    loaded = load_weights(model, save(saved, tmp_path / "model.safetensors"))
    assert loaded is model.get_submodule("network")
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), saved(IMAGES))


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    def classifier(width: int, classes: int) -> nn.Module:
        layers = [nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(36 * width, classes)]
        return Classifier(Normalize(MEAN, STD), nn.Sequential(*layers))

    path = save(classifier(2, 5), tmp_path / "model.safetensors")
    wider = classifier(3, 6)
    before = {name: tensor.clone() for name, tensor in wider.state_dict().items()}
    with pytest.raises(RunError) as caught:
        load_weights(wider, path)
    assert str(caught.value).splitlines() == [
        f"{path} holds weights of another architecture: 8 of 11 tensors differ",
        "  network.0.bias: model (3,), file (2,)",
        "  network.0.weight: model (3, 3, 3, 3), file (2, 3, 3, 3)",
        "  network.1.bias: model (3,), file (2,)",
        "Give the --model (with its settings) that the weights were saved from.",
    ]
    assert all(torch.equal(tensor, before[name]) for name, tensor in wider.state_dict().items())


def test_weights_with_other_names(tmp_path: Path) -> None:
    path = save(ResNet18(5, width=2), tmp_path / "model.safetensors")
    with pytest.raises(RunError, match=r"(?s)another architecture: .*\n  bn1\.bias: model -, file \(2,\)\n"):
        load_weights(small(), path)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text", "folder"])
def test_weights_that_cannot_be_read(tmp_path: Path, damage: str) -> None:
    path = save(small(), tmp_path / "model.safetensors")
    content = {"empty": b"", "cut": path.read_bytes()[:-100], "text": b"just some text, no tensors"}
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(content[damage])
    with pytest.raises(RunError, match=rf"cannot read weights from {path}: .*; expected a \.safetensors file, or"):
        load_weights(small(), path)


class _OwnNormalize(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full(shape, 0.3))
        self.register_buffer("std", torch.full(shape, 0.7))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1)


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (3,)])
@pytest.mark.parametrize("saved_in_ours", [False, True])
@pytest.mark.parametrize("given_in_ours", [False, True])
def test_weights_of_a_network_with_a_normalize_of_its_own(
    tmp_path: Path, shape: tuple[int, ...], saved_in_ours: bool, given_in_ours: bool
) -> None:
    """Whoever has our normalisation in front, file or network: the weights' own network comes out."""

    def network(ours: bool) -> nn.Module:
        own = nn.Sequential()
        own.add_module("normalize", _OwnNormalize(*shape))
        own.add_module("body", nn.Flatten())
        own.add_module("last", nn.Linear(192, 5))
        return Classifier(Normalize(MEAN, STD), own) if ours else own

    saved = network(saved_in_ours)
    loaded = load_weights(network(given_in_ours), save(saved, tmp_path / "w.safetensors"))
    assert torch.equal(loaded(IMAGES), saved(IMAGES))
