"""A run's model comes back as it was saved."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from run_files import write_evaluation
from safetensors.torch import save_file
from torch import nn

from toughen.errors import InputError, RunError
from toughen.evaluation import load_model, with_weights
from toughen.models import SmallCNN, build_model, with_facts
from toughen.models.load import load
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.threat import ThreatModel

IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def saved(path: Path, **config: object) -> tuple[RunFolder, nn.Module]:
    """A run folder as training leaves it, and the model in it."""
    network = with_facts(lambda num_classes, in_channels: SmallCNN(num_classes, in_channels, width=3), 10, 1)
    model = build_model(network, num_classes=10, in_channels=1, mean=[0.3], std=[0.4]).eval()
    folder = RunFolder(path)
    folder.create()
    save_file(model.state_dict(), folder.model)
    folder.write_config({"model": describe(SmallCNN(10, 1, width=3)), **config})
    return folder, model


def test_a_run_gives_the_same_logits_normalisation_included(tmp_path: Path):
    folder, model = saved(tmp_path / "run")
    loaded = load_model(folder)
    assert not loaded.training
    assert torch.equal(loaded(IMAGES), model(IMAGES))
    assert loaded.state_dict()["normalize.mean"].item() == pytest.approx(0.3)


def test_weights_without_normalisation_stay_without(tmp_path: Path):
    network = SmallCNN(10, 1, width=3).eval()
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    loaded = with_weights(SmallCNN(10, 1, width=3), tmp_path / "w.safetensors")
    assert torch.equal(loaded(IMAGES), network(IMAGES))


def test_missing_and_damaged_files_are_named(tmp_path: Path):
    folder, _ = saved(tmp_path / "run")
    folder.model.write_bytes(folder.model.read_bytes()[:100])
    with pytest.raises(RunError, match=r"cannot read weights from .*model\.safetensors"):
        load_model(folder)
    folder.model.unlink()
    with pytest.raises(RunError, match=r"no model\.safetensors"):
        load_model(folder)
    with pytest.raises(RunError, match="no run folder"):
        load_model(RunFolder(tmp_path / "none"))


def test_a_configuration_without_a_model_is_refused(tmp_path: Path):
    folder, _ = saved(tmp_path / "run", model="resnet")
    with pytest.raises(RunError, match="model: expected entries by name, got 'resnet'"):
        load_model(folder)


def test_another_architecture_is_refused(tmp_path: Path):
    folder, _ = saved(tmp_path / "run", model=describe(SmallCNN(10, 1, width=5)))
    with pytest.raises(RunError, match="another architecture"):
        load_model(folder)


def test_an_unknown_class_is_refused(tmp_path: Path):
    folder, _ = saved(tmp_path / "run", model={"class_path": "toughen.models.Nothing", "init_args": {}})
    with pytest.raises(InputError, match=r"cannot import 'toughen\.models\.Nothing'"):
        load_model(folder)


class _OwnNormalize(nn.Module):
    def __init__(self, *shape: int):
        super().__init__()
        self.register_buffer("mean", torch.full(shape, 0.3))

    def forward(self, x):
        return x - self.mean.view(1, -1, 1, 1)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 1), (1,)])
def test_a_network_with_a_normalize_of_its_own_loads_as_it_is(tmp_path: Path, shape: tuple[int, ...]):
    def network() -> nn.Module:
        return nn.Sequential(OrderedDict(normalize=_OwnNormalize(*shape), model=nn.Flatten(), last=nn.Linear(64, 10)))

    saved, x = network(), torch.rand(2, 1, 8, 8)
    save_file(saved.state_dict(), tmp_path / "w.safetensors")
    assert torch.equal(with_weights(network(), tmp_path / "w.safetensors")(x), saved(x))


def test_load_gives_a_network_that_is_ready_to_predict(tmp_path: Path):
    folder, model = saved(tmp_path / "run", threat={"norm": "l2", "eps": 0.5})
    found = load(tmp_path / "run")
    assert torch.equal(found(IMAGES), model(IMAGES))
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert found.threat == ThreatModel("l2", 0.5)
    assert (found.classes, found.figures) == (None, {})
    assert found.predict(IMAGES) == [str(label) for label in model(IMAGES).argmax(1).tolist()]
    write_evaluation(folder, n=20, seed=0, strength=1.0)
    result, figures = folder.read_result(), load(str(folder.path)).figures
    assert figures == {**result["figures"], "robust": result["robust_accuracy"]}
    with pytest.raises(RunError, match="no run folder"):
        load(tmp_path / "none")
