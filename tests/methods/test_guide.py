"""The second network: a fresh copy, another architecture, or a run's; on the model's terms."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from toughen.errors import InputError, RunError
from toughen.methods import Guide
from toughen.methods.guide import class_count, fresh_copy, trained_network
from toughen.models import Classifier, Normalize, ResNet18, SmallCNN, build_model
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.settings.stored import stored_object


def classifier(classes: int = 5) -> nn.Module:
    return build_model(SmallCNN, num_classes=classes, in_channels=1, mean=[0.3], std=[0.2])


def make_run(path: Path, network: nn.Module) -> nn.Module:
    """A run's folder that holds this network behind a normalisation of its own; returns the whole."""
    model = Classifier(Normalize([0.6], [0.4]), network)
    folder = RunFolder(path)
    folder.create()
    folder.write_config({"model": describe(network)})
    save_file(model.state_dict(), folder.model)
    return model


def test_by_default_it_is_the_same_architecture_with_its_own_fresh_weights() -> None:
    torch.manual_seed(0)
    model = classifier()
    for parameter in model.parameters():
        parameter.requires_grad_(False).fill_(7.0)
    model(torch.rand(4, 1, 8, 8))
    guide = Guide().build(model)
    assert type(guide) is type(model)
    assert {n: p.shape for n, p in guide.named_parameters()} == {n: p.shape for n, p in model.named_parameters()}
    for name, parameter in guide.named_parameters():
        assert parameter.requires_grad, name
        assert (parameter != 7.0).all(), name
    assert all(module.training for module in guide.modules())
    assert torch.equal(guide.get_submodule("normalize").mean, torch.tensor([[[[0.3]]]]))
    statistics = dict(guide.named_buffers())
    assert torch.equal(statistics["network.features.1.running_mean"], torch.zeros(16))
    assert statistics["network.features.1.num_batches_tracked"] == 0


def test_fresh_weights_follow_the_architectures_own_distribution() -> None:
    torch.manual_seed(0)
    convolution = fresh_copy(SmallCNN(5, 1, width=64)).features[3].weight
    # Kaiming normal, fan out: std = sqrt(2 / (128 * 9)).
    assert convolution.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)


def test_fresh_weights_are_drawn_from_the_global_generator() -> None:
    model = classifier()
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(Guide().build(model).state_dict()["network.fc.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_another_architecture_stands_behind_the_same_normalisation() -> None:
    model = classifier()
    guide = Guide("resnet18", {"width": 4}).build(model)
    assert isinstance(guide, Classifier)
    network = guide.get_submodule("network")
    assert isinstance(network, ResNet18)
    assert (network.num_classes, network.in_channels, network.width) == (5, 1, 4)
    assert torch.equal(guide.get_submodule("normalize").std, torch.tensor([[[[0.2]]]]))
    images = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(guide.eval()(images), network((images - 0.3) / 0.2))
    assert guide.get_submodule("normalize").mean is not model.get_submodule("normalize").mean


def test_without_a_normalisation_in_front_of_the_model_there_is_none_before_the_guide() -> None:
    guide = Guide("toughen.models.ResNet18", {"width": 4}).build(SmallCNN(5, 3)).eval()
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(guide(images), guide.get_submodule("network")(images))


def test_a_run_brings_its_network_and_its_normalisation(tmp_path: Path) -> None:
    saved = make_run(tmp_path / "run", ResNet18(5, 1, width=4)).eval()
    images = torch.rand(2, 1, 8, 8)
    for model in (classifier(), SmallCNN(5, 1)):
        guide = Guide(weights=str(tmp_path / "run")).build(model)
        assert all(module.training for module in guide.modules())
        torch.testing.assert_close(guide.eval()(images), saved(images))


def test_a_weights_file_fits_the_models_architecture_or_the_named_one(tmp_path: Path) -> None:
    images = torch.rand(2, 1, 8, 8)
    same, other = classifier(), Classifier(Normalize([0.1], [0.5]), ResNet18(5, 1, width=4))
    for name, saved in (("same", same), ("other", other)):
        save_file(saved.state_dict(), tmp_path / f"{name}.safetensors")
    loaded = Guide(weights=str(tmp_path / "same.safetensors")).build(classifier()).eval()
    torch.testing.assert_close(loaded(images), same.eval()(images))
    loaded = Guide("resnet18", {"width": 4}, str(tmp_path / "other.safetensors")).build(classifier()).eval()
    torch.testing.assert_close(loaded(images), other.eval()(images))
    with pytest.raises(RunError, match="weights of another architecture"):
        Guide(weights=str(tmp_path / "other.safetensors")).build(classifier())


def test_a_loaded_network_keeps_the_models_mode_and_shares_nothing(tmp_path: Path) -> None:
    model = classifier()
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    loaded = trained_network(str(tmp_path / "a.safetensors"), model.eval())
    assert not loaded.training
    places = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert all(tensor.data_ptr() not in places for tensor in loaded.state_dict().values())


def test_missing_and_unfit_networks_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no network at .*nowhere: .* run, or a \.safetensors .*toughen train --out"):
        trained_network(str(tmp_path / "nowhere"), classifier())
    make_run(tmp_path / "run", SmallCNN(7, 1))
    with pytest.raises(InputError, match="gives 7 logits, the trained one 5"):
        Guide(weights=str(tmp_path / "run")).build(classifier(5))
    RunFolder(tmp_path / "run").write_config({"model": None})
    with pytest.raises(RunError, match=r"config.yaml: model: expected .* got None"):
        trained_network(str(tmp_path / "run"), classifier())
    RunFolder(tmp_path / "run").model.unlink()
    with pytest.raises(RunError, match=r"has no model\.safetensors"):
        trained_network(str(tmp_path / "run"), classifier())


def test_bad_settings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"guide\.settings: expected guide\.network with them"):
        Guide(settings={"width": 4})
    with pytest.raises(InputError, match=r"guide\.network: .* has its own network, got 'resnet18'"):
        Guide("resnet18", weights=str(tmp_path))
    with pytest.raises(InputError, match=r"guide\.network: unknown name 'resnet81'; did you mean 'ResNet18'"):
        Guide("resnet81").build(classifier())
    with pytest.raises(InputError, match=r"guide\.network: .*ResNet18 cannot be built with .*'size': 3"):
        Guide("resnet18", {"size": 3}).build(classifier())
    with pytest.raises(InputError, match="gives 9 logits, the trained one 5"):
        Guide("resnet18", {"num_classes": 9, "width": 4}).build(classifier())


def test_the_number_of_classes_is_stated_or_read_off_the_last_linear_layer() -> None:
    assert class_count(classifier(7)) == 7
    assert class_count(nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))) == 3
    with pytest.raises(InputError, match="cannot tell the number of classes of Conv2d"):
        class_count(nn.Conv2d(1, 2, 3))


def test_settings_survive_describing() -> None:
    guide = Guide("resnet18", {"width": 4}, "guide.safetensors")
    assert describe(stored_object({"guide": describe(guide)}, "guide", Guide, Path("config.yaml"))) == describe(guide)


def test_repr_shows_what_was_given() -> None:
    assert repr(Guide()) == "Guide()"
    assert repr(Guide("resnet18", {"width": 8})) == "Guide(network='resnet18', settings={'width': 8})"
