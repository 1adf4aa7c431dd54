"""Classifiers from saved weights."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from toughen.config import instantiate
from toughen.errors import RunError
from toughen.models.build import Classifier, Normalize, load_weights
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
    own = any(isinstance(module, Normalize) for module in network.modules())
    channels = None if own else _normalized_channels(weights, set(network.state_dict()))
    if channels is not None:
        # The statistics are among the weights: these values only give them their shape.
        network = Classifier(Normalize([0.0] * channels, [1.0] * channels), network)
    return load_weights(network, weights).eval()


def _normalized_channels(weights: Path, names: set[str]) -> int | None:
    """Number of channels of our normalisation in front of a network whose state has `names`, None without one."""
    try:
        with safe_open(weights, framework="pt") as file:
            held = set(file.keys())
            # A network may have a `normalize` of its own: then the file fits it as it is.
            if "normalize.mean" not in held or held == names:
                return None
            return int(file.get_slice("normalize.mean").get_shape()[1])
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot read weights from {weights}: {error}; expected a .safetensors file") from error
