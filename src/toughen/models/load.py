"""Classifiers from saved weights: the only door through which a run's network is read."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toughen.contracts import check_arguments
from toughen.models.build import load_weights
from toughen.reading.files import from_json, readable
from toughen.reading.schema import Count, UnfitError
from toughen.reading.tensors import read_texts
from toughen.run import RunFolder
from toughen.run.hub import is_on_hub, run_folder
from toughen.settings.stored import stored_object
from toughen.settings.trust import obeying_trust
from toughen.threat import ThreatModel


def load_model(folder: RunFolder) -> nn.Module:
    """Rebuild a run's model from its config.yaml and model.safetensors, on the CPU, in eval mode.

    Raises:
        RunError: a file is missing or damaged, the configuration names no model, or the weights do not fit
            it.
        InputError: as `untrained`.
    """
    folder.require(folder.config, folder.model)
    return with_weights(untrained(folder), folder.model)


def untrained(folder: RunFolder) -> nn.Module:
    """The network that a run's config.yaml describes, without its weights.

    Raises:
        RunError: the configuration is missing or damaged, or names no model; a file of the user's own is damaged.
        InputError: the model cannot be built, or is of a class that only `--trust` lets a file name.
    """
    folder.check_own_files()
    network: nn.Module = stored_object(
        folder.read_config(), "model", Callable[..., nn.Module], folder.config, folder.model
    )
    return network


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
        shape: channels, height and width of the images that it was trained on; None where the run does not say.
        threat: what it was trained to withstand; None where the run does not say.
        figures: accuracies by attack, each with its interval, and `robust`; empty before an evaluation.
        result: everything that the run's result says; empty before an evaluation.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: tuple[str, ...] | None,
        shape: tuple[int, int, int] | None,
        threat: ThreatModel | None,
        result: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.network, self.classes, self.shape = network, classes, shape
        self.threat, self.result = threat, result
        robust = {"robust": result["robust_accuracy"]} if "robust_accuracy" in result else {}
        self.figures: dict[str, dict[str, Any]] = {**result.get("figures", {}), **robust}

    def __repr__(self) -> str:
        """In a line; `network` shows its layers."""
        facts = [type(getattr(self.network, "network", self.network)).__name__]
        facts += [] if self.classes is None else [f"{len(self.classes)} classes"]
        facts += [] if self.threat is None else [str(self.threat)]
        facts += [
            f"{name} {figure['accuracy']:.1%}" for name, figure in self.figures.items() if name in ("clean", "robust")
        ]
        return f"LoadedClassifier({', '.join(facts)})"

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x K."""
        return self.network(images)

    def predict(self, images: Tensor) -> list[str]:
        """The name of each image's most likely class; its number as text where the run keeps no names."""
        with torch.no_grad():
            labels = self.network(images).argmax(1).tolist()
        return [str(label) if self.classes is None else self.classes[label] for label in labels]


@obeying_trust
def load(run: str | Path, *, trust: Sequence[str] = ()) -> LoadedClassifier:
    """Load a run's network with its class names, threat model and figures.

    Args:
        run: the run's folder, a file of `toughen export --format safetensors`, or hf:ORG/NAME, what `toughen push`
            put on the Hugging Face hub (at a revision: hf:ORG/NAME@v1).
        trust: packages, modules or classes outside this package and its libraries that the run may name, such as
            my_package.Net; their code is run.

    Raises:
        RunError: no run folder there, a file is missing or damaged, or the weights do not fit the network.
    """
    check_arguments(load, {"run": run})
    if not is_on_hub(run) and Path(run).is_file():
        return _from_file(Path(run))
    folder = run_folder(run)
    network = load_model(folder).requires_grad_(False)
    config = folder.read_config()
    threat = stored_object(config, "threat", ThreatModel, folder.config) if "threat" in config else None
    result = folder.read_result() if folder.result.exists() else {}
    loaded = LoadedClassifier(network, folder.read_classes(), folder.read_shape(), threat, result).eval()
    folder.warn_of_damage()  # of what was not needed
    return loaded


_Shape = tuple[Count, Count, Count]


def _from_file(path: Path) -> LoadedClassifier:
    """A classifier from the one file that `toughen export` wrote."""
    with readable(path, "expected a file of `toughen export --format safetensors`, or a run's folder"):
        texts = read_texts(path)
        if "model" not in texts:
            raise UnfitError("it holds weights alone")
        kinds = {"model": dict[str, Any], "classes": list[str], "shape": _Shape, "threat": dict[str, Any]}
        said = {name: from_json(texts[name], kind) for name, kind in kinds.items() if name in texts}
    network = with_weights(stored_object(said, "model", Callable[..., nn.Module], path), path).requires_grad_(False)
    threat = stored_object(said, "threat", ThreatModel, path) if "threat" in said else None
    classes, shape = said.get("classes"), said.get("shape")
    return LoadedClassifier(network, classes and tuple(classes), shape and tuple(shape), threat, {}).eval()
