"""Image classifiers of transformers, from folders that stand in for repositories of the hub."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
)

from toughen.cli import main
from toughen.errors import InputError
from toughen.models import build_model
from toughen.models.published import completed, publisher
from toughen.models.start import start_from
from toughen.models.transformers_network import Transformers

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
VIT = ViTConfig(**SMALL, image_size=16, patch_size=4, num_labels=3, id2label={0: "cat", 1: "dog", 2: "fox"})


def outputs(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Any = model.eval()(images)
    return logits if isinstance(logits, Tensor) else logits.logits


def started(folder: Path, classes: tuple[str, ...], size: int = 16, normalize: bool | str = True) -> nn.Module:
    facts = {"num_classes": len(classes), "in_channels": 3, "mean": [0.3] * 3, "std": [0.7] * 3, "image_size": size}
    model = build_model(partial(Transformers, name=str(folder)), **facts, normalize=normalize)
    start_from(model, publisher(model).published(), "w", classes, keep_normalisation=normalize is not True)
    return model


@pytest.fixture
def vit(tmp_path: Path) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    network = ViTForImageClassification(VIT)
    network.save_pretrained(tmp_path)
    ViTImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(tmp_path)
    return network, tmp_path


def test_the_repositorys_weights_behind_its_normalisation_with_rows_by_name(vit: tuple[nn.Module, Path]) -> None:
    network, folder = vit
    model = started(folder, ("fox", "cat"))
    normalised = (IMAGES - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    torch.testing.assert_close(outputs(model, IMAGES), outputs(network, normalised)[:, [2, 0]])
    bare = started(folder, ("cat", "dog", "fox"), normalize="none")
    torch.testing.assert_close(outputs(bare, IMAGES), outputs(network, IMAGES))


def test_position_embeddings_are_interpolated_as_transformers_does(vit: tuple[nn.Module, Path]) -> None:
    network, folder = vit
    images = torch.rand(2, 3, 24, 24)
    model = started(folder, ("cat", "dog", "fox"), size=24, normalize="none")
    with torch.no_grad():
        expected = network.eval()(images, interpolate_pos_encoding=True).logits
    torch.testing.assert_close(outputs(model, images), expected)


def test_a_run_needs_the_repository_no_more(vit: tuple[nn.Module, Path]) -> None:
    network, folder = vit
    settings: Any = completed(partial(Transformers, name=str(folder), image_size=16))
    for file in folder.iterdir():
        file.unlink()
    rebuilt = Transformers(3, **settings.keywords)
    rebuilt.network.load_state_dict(network.state_dict())
    torch.testing.assert_close(outputs(rebuilt, IMAGES), outputs(network, IMAGES))


def test_a_network_without_attention(tmp_path: Path) -> None:
    config = ConvNextConfig(hidden_sizes=[8, 8], depths=[1, 1], num_stages=2, num_labels=4)
    network = ConvNextForImageClassification(config)
    network.save_pretrained(tmp_path)
    model = started(tmp_path, tuple("abcd"))
    mean = model.get_submodule("normalize").get_buffer("mean").flatten().tolist()
    assert mean == pytest.approx([0.3] * 3), "no image processor there: the data's own"
    torch.testing.assert_close(outputs(model, IMAGES), outputs(network, (IMAGES - 0.3) / 0.7))


def test_a_body_alone_gets_a_new_last_layer(tmp_path: Path) -> None:
    body = ViTModel(VIT, add_pooling_layer=False)
    body.save_pretrained(tmp_path)
    model = build_model(
        partial(Transformers, name=str(tmp_path)), num_classes=2, in_channels=3, mean=[0.5], std=[0.5], image_size=16
    )
    start = start_from(model, publisher(model).published(), "w", ("LABEL_0", "LABEL_1"))
    assert not start.same_classes
    assert torch.equal(
        model.get_submodule("network.network.vit.embeddings").cls_token,
        body.embeddings.cls_token,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "cannot build an image classifier of kind 'bert'"),
        ({"model_type": "timm_wrapper"}, "it is a network of timm; use --model hf-hub:x"),
        ({}, "cannot build an image classifier of kind 'None'"),
        ({"model_type": "vit", "hidden_size": "many"}, "cannot build an image classifier of kind 'vit'"),
    ],
)
def test_what_is_no_image_classifier(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Transformers(name="x", config=config)


def test_code_that_a_configuration_names_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attention of the hub's kernels would be downloaded and run."""
    asked: list[Any] = []
    monkeypatch.setattr("transformers.integrations.hub_kernels.load_and_register_attn_kernel", asked.append)
    config = {**SMALL, "model_type": "vit", "image_size": 16, "patch_size": 4}
    Transformers(name="x", config={**config, "attn_implementation": "o/n", "_attn_implementation": "o/n"})
    assert not asked


def test_a_repository_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--model hf:.*: transformers cannot read it: .*; published weights need"):
        Transformers(name=str(tmp_path))


def test_a_repeated_command_goes_on_without_the_repository(vit: tuple[nn.Module, Path], tmp_path: Path) -> None:
    """What a scheduler repeats, `--resume auto`, begins from the weights there and then needs them no more."""
    _, folder = vit
    command = [
        "train", "--model", f"hf:{folder}", "--init", "random", "--method", "Standard", "--epochs", "1",
        "--train_images", "256", "--budget", "none", "--trackers", "[]", "--out", str(tmp_path / "run"),
        "--resume", "auto",
    ]  # fmt: skip
    assert main(command) == 0
    for file in folder.glob("*.*"):
        file.unlink()
    assert main(command) == 0
