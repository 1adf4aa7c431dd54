"""Classifiers from saved weights."""

from pathlib import Path

from torch import nn

from toughen.config import instantiate
from toughen.errors import RunError
from toughen.models.build import load_weights
from toughen.run import RunFolder


def load_model(folder: RunFolder) -> nn.Module:
    """Rebuild a run's model from its config.yaml and model.safetensors, on the CPU, in eval mode.

    Raises:
        RunError: a file is missing or damaged, the configuration names no model, or the weights do not fit
            it.
        InputError: the model's class cannot be imported.
    """
    folder.require(folder.config, folder.model)
    described = folder.read_config().get("model")
    if not isinstance(described, dict) or "class_path" not in described:
        raise RunError(f"{folder.config}: expected `model:` with class_path and init_args, got {described!r}")
    return with_weights(instantiate(described), folder.model)


def with_weights(network: nn.Module, weights: Path) -> nn.Module:
    """`network` with the weights of a safetensors file, behind an input normalisation where the file has one.

    Raises:
        RunError: no such file, a damaged one, or weights of another architecture.
    """
    return load_weights(network, weights).eval()
