"""Classifiers from saved weights: the only door through which a run's network is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toughen.contracts import check_arguments
from toughen.errors import RunError
from toughen.models.build import load_weights
from toughen.run import RunFolder
from toughen.settings.description import instantiate
from toughen.threat import ThreatModel


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


class LoadedClassifier(nn.Module):
    """A run's network, ready to predict: in eval mode, on the CPU, its parameters without gradients.

    Attributes:
        network: images in [0, 1], N x C x H x W, to logits; its input normalisation is inside.
        classes: names of the classes, in the order of the logits; None where the run does not keep them.
        threat: what it was trained to withstand; None where the run does not say.
        figures: accuracies by attack, each with its interval, and `robust`; empty before an evaluation.
        result: everything that the run's result says; empty before an evaluation.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: tuple[str, ...] | None,
        threat: ThreatModel | None,
        result: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.network, self.classes, self.threat, self.result = network, classes, threat, result
        robust = {"robust": result["robust_accuracy"]} if "robust_accuracy" in result else {}
        self.figures: dict[str, dict[str, Any]] = {**result.get("figures", {}), **robust}

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x K."""
        return self.network(images)

    def predict(self, images: Tensor) -> list[str]:
        """The name of each image's most likely class; its number as text where the run keeps no names."""
        with torch.no_grad():
            labels = self.network(images).argmax(1).tolist()
        return [str(label) if self.classes is None else self.classes[label] for label in labels]


def load(run: str | Path) -> LoadedClassifier:
    """Load a run's network with its class names, threat model and figures.

    Raises:
        RunError: no run folder there, a file is missing or damaged, or the weights do not fit the network.
    """
    check_arguments(load, {"run": run})
    folder = RunFolder(run)
    network = load_model(folder).requires_grad_(False)
    described = folder.read_config().get("threat")
    threat = ThreatModel(**described) if isinstance(described, dict) else None
    result = folder.read_result() if folder.result.exists() else {}
    return LoadedClassifier(network, folder.read_classes(), threat, result).eval()
