"""A pickle that runs code, as the weights of a repository of timm's or transformers': refused, and not run."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import ViTConfig

from toughen.errors import InputError
from toughen.models.adapters import Timm
from toughen.models.published import completed
from toughen.models.transformers_network import Transformers


class Harmful:
    """What a pickle may do as it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that stands in for a repository, its weights without their configuration."""
    torch.save({"head.weight": Harmful(tmp_path / "canary")}, tmp_path / "pytorch_model.bin")
    return tmp_path


def test_in_a_repository_of_timm(place: Path) -> None:
    told = {"architecture": "test_vit", "num_classes": 3, "pretrained_cfg": {"input_size": [3, 160, 160]}}
    (place / "config.json").write_text(json.dumps(told))
    network = completed(partial(Timm, name=f"local-dir:{place}"))(num_classes=3)
    with pytest.raises(InputError, match=r"--model.name: timm cannot build 'local-dir:"):
        network.published()
    assert not (place / "canary").exists()


def test_in_a_repository_of_transformers(place: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTConfig(**sizes, image_size=16, patch_size=4, architectures=["ViTForImageClassification"]).save_pretrained(place)
    network = completed(partial(Transformers, name=str(place)))(num_classes=3, in_channels=3, image_size=16)
    with pytest.raises(InputError, match=r"--model hf:.*: transformers cannot read it"):
        network.published()
    assert not (place / "canary").exists()


def test_the_pickle_would_harm(place: Path) -> None:
    torch.load(place / "pytorch_model.bin", weights_only=False)
    assert (place / "canary").exists()
