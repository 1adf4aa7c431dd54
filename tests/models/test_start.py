"""Training that starts from a trained network's weights."""

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import toughen
from toughen.data import Digits
from toughen.errors import InputError, RunError, ToughenWarning
from toughen.methods import PGDAT, Standard
from toughen.models import Classifier, Normalize, SmallCNN, build_model
from toughen.models.normalisation import read_statistics
from toughen.models.start import doubt_of_normalisation, start_from
from toughen.models.weight_files import WeightFile, read_weights
from toughen.threat import ThreatModel

MEAN, STD = [0.3], [0.7]


def network(classes: int = 10) -> nn.Module:
    return SmallCNN(classes, 1, width=4).eval()


def classifier(classes: int = 10) -> nn.Module:
    return Classifier(Normalize(MEAN, STD), network(classes)).eval()


@pytest.mark.parametrize("saved_in_ours", [False, True])
@pytest.mark.parametrize("given_in_ours", [False, True])
def test_the_weights_are_the_files(tmp_path: Path, saved_in_ours: bool, given_in_ours: bool) -> None:
    saved = classifier() if saved_in_ours else network()
    save_file(saved.state_dict(), tmp_path / "w.safetensors")
    model = Classifier(Normalize([0.1], [0.2]), network()) if given_in_ours else network()
    start = start_from(model, read_weights(tmp_path / "w.safetensors"), "w")
    assert start.same_classes
    inner, source = (each.get_submodule("network") if isinstance(each, Classifier) else each for each in (model, saved))
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in inner.state_dict().items())
    if given_in_ours:  # the file's statistics, where it has some
        mean = model.get_submodule("normalize").get_buffer("mean").item()
        assert mean == pytest.approx(0.3 if saved_in_ours else 0.1)


def test_a_last_layer_for_other_classes_stays_new(tmp_path: Path) -> None:
    saved, model = network(7), network(10)
    torch.save({"state_dict": saved.state_dict()}, tmp_path / "w.pt")
    head = [name for name, tensor in model.state_dict().items() if tensor.shape[:1] == (10,)]
    new = {name: model.state_dict()[name].clone() for name in head}
    start = start_from(model, read_weights(tmp_path / "w.pt"), "w")
    assert not start.same_classes
    assert "7 classes" in start.sentences[-1]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, new[name] if name in new else saved.state_dict()[name]), name


def test_another_architecture_is_refused_and_the_model_stays_as_it_was(tmp_path: Path) -> None:
    save_file(SmallCNN(10, 1, width=6).state_dict(), tmp_path / "w.safetensors")
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RunError, match="another architecture"):
        start_from(model, read_weights(tmp_path / "w.safetensors"), "w")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def head_of(state: dict[str, Tensor], classes: int) -> list[str]:
    return [name for name, tensor in state.items() if tensor.shape[:1] == (classes,)][-2:]


@pytest.mark.parametrize("theirs", [("cat", "dog", "fox"), ("n01, Fox, vulpes", "Cat", "x", "y", "dog_1")])
def test_rows_of_the_last_layer_are_copied_by_name(theirs: tuple[str, ...]) -> None:
    saved, model, ours = network(len(theirs)), network(3), ("fox", "wolf", "cat")
    new = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start = start_from(model, WeightFile(saved.state_dict(), classes=theirs), "w", ours)
    assert not start.same_classes
    assert "2 classes, by their names, and new ones for wolf" in start.sentences[-1]
    places = [next(index for index, name in enumerate(theirs) if word in name.lower()) for word in ("fox", "cat")]
    for name in head_of(new, 3):
        found, given = model.state_dict()[name], saved.state_dict()[name]
        assert torch.equal(found[0], given[places[0]]) and torch.equal(found[2], given[places[1]])
        assert torch.equal(found[1], new[name][1])


def test_the_same_classes_in_another_order_keep_their_rows() -> None:
    saved, model, theirs, ours = network(3), network(3), ("a", "b", "c"), ("c", "a", "b")
    start = start_from(model, WeightFile(saved.state_dict(), classes=theirs), "w", ours)
    assert start.same_classes
    images = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images), saved.eval()(images)[:, [2, 0, 1]])


def test_classes_of_other_names_get_a_new_last_layer() -> None:
    saved, model = network(3), network(3)
    start = start_from(model, WeightFile(saved.state_dict(), classes=("a", "b", "c")), "w", ("d", "e", "f"))
    assert not start.same_classes
    name = head_of(model.state_dict(), 3)[0]
    assert not torch.equal(model.state_dict()[name], saved.state_dict()[name])


def test_weights_without_a_last_layer_leave_it_new() -> None:
    saved, model = network(10), network(10)
    head = head_of(saved.state_dict(), 10)
    new = {name: model.state_dict()[name].clone() for name in head}
    body = {name: tensor for name, tensor in saved.state_dict().items() if name not in head}
    assert not start_from(model, WeightFile(body), "w").same_classes
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, new[name] if name in new else saved.state_dict()[name])


@pytest.mark.parametrize("keep", [False, True])
def test_known_statistics_stand_in_front_unless_others_were_asked_for(keep: bool) -> None:
    saved, model = network(), Classifier(Normalize([0.1], [0.2]), network())
    start = start_from(model, WeightFile(saved.state_dict(), statistics=([0.3], [0.4])), "w", keep_normalisation=keep)
    mean, std = (model.get_submodule("normalize").get_buffer(name).item() for name in ("mean", "std"))
    assert (mean, std) == pytest.approx((0.1, 0.2) if keep else (0.3, 0.4))
    assert ("--normalize 0.3/0.4" in start.sentences[-1]) == keep


class Bright(nn.Module):
    """Tells dark images from bright ones, if it sees them from -1 to 1."""

    def forward(self, images: Tensor) -> Tensor:
        level = images.mean(dim=(1, 2, 3))
        return torch.stack([-level, level], 1)


@pytest.mark.parametrize("in_front", [None, Normalize([0.0], [0.5])])
def test_a_normalisation_that_the_weights_were_not_trained_with_is_doubted(in_front: Normalize | None) -> None:
    images = torch.linspace(0.2, 0.8, 100).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    labels = (images[:, 0, 0, 0] > 0.5).long()
    model = Bright() if in_front is None else Classifier(in_front, Bright())
    doubt = doubt_of_normalisation(model, images, labels)
    assert doubt is not None
    assert "--normalize 0.5/" in doubt, "a mean of a half puts the middle at zero"
    assert doubt_of_normalisation(Classifier(Normalize([0.5], [0.5]), Bright()), images, labels) is None


def test_training_goes_on_from_the_weights(tmp_path: Path) -> None:
    """A rate of next to nothing leaves the file's accuracy, and the run says what it was started from."""
    made = toughen.train(
        Digits(), SmallCNN, Standard(), epochs=2, budget="none", out=str(tmp_path / "first"), trackers=[]
    )
    with pytest.warns(ToughenWarning, match="started from"):
        second = toughen.train(
            Digits(),
            SmallCNN,
            PGDAT(),
            threat=ThreatModel("linf", 0.001),
            init=str(made.folder.model),
            optimizer=_still,
            epochs=1,
            budget="none",
            out=str(tmp_path / "second"),
            trackers=[],
        )
    first, then = made.model.state_dict(), second.model.state_dict()
    for name in first:
        if "weight" in name:
            torch.testing.assert_close(then[name], first[name], rtol=0, atol=1e-4, msg=name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the file is not asked for again
        made.folder.model.unlink()
        again = toughen.load(str(tmp_path / "second"))
    assert again.predict(torch.zeros(1, 1, 8, 8))


def _still(parameters: object) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1e-8)  # type: ignore[arg-type]


def test_statistics_in_front_as_written() -> None:
    model = build_model(SmallCNN, num_classes=10, in_channels=1, mean=[0.9], std=[0.9], normalize="0.25/0.5")
    normalize = model.get_submodule("normalize")
    assert (normalize.get_buffer("mean").item(), normalize.get_buffer("std").item()) == (0.25, 0.5)
    bare = build_model(SmallCNN, num_classes=10, in_channels=1, mean=[0.9], std=[0.9], normalize="none")
    assert isinstance(bare, SmallCNN)


@pytest.mark.parametrize("text", ["imagenet", "0.5", "0.5/0", "0.5/-1", "0.1,0.2/0.3,0.4", "nan/1", "0.5/inf", "1/2/3"])
def test_statistics_that_mean_nothing(text: str) -> None:
    with pytest.raises(InputError, match="--normalize"):
        read_statistics(text, 3)
