"""Networks of RobustBench's model zoo."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from toughen.errors import InputError, did_you_mean
from toughen.extras import library
from toughen.models.published import NO_NETWORK, PublishedNetwork, within
from toughen.models.weight_files import WeightFile

_CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}


class RobustBench(PublishedNetwork):
    """A network that RobustBench lists, by its name there; its figures there are never used, but computed anew.

    On the command line `robustbench:NAME` (of CIFAR-10 and l-inf) or `robustbench:DATASET/THREAT/NAME`. It normalises
    by itself, and is for the classes of its data set, in their usual order.

    Args:
        num_classes: number of logits: that of the data set.
        in_channels: channels of the images: 3.
        name: such as Wong2020Fast.
        dataset: cifar10, cifar100 or imagenet.
        threat_model: Linf, L2, corruptions or corruptions_3d.
        image_size: not used; its networks say themselves which images they take.
    """

    normalises = True

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        name: str,
        dataset: str = "cifar10",
        threat_model: str = "Linf",
        image_size: int | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, image_size)
        self.name, self.dataset, self.threat_model = name, dataset, threat_model
        place = f"--model robustbench:{dataset}/{threat_model}/{name}"
        zoo = {key.value: value for key, value in library("robustbench.model_zoo", "robustbench").model_dicts.items()}
        if dataset not in zoo:
            raise InputError(f"{place}: unknown data set {dataset!r}; {did_you_mean(dataset, zoo)}")
        threats = {key.value: value for key, value in zoo[dataset].items()}
        if threat_model not in threats:
            raise InputError(f"{place}: unknown threat model {threat_model!r}; {did_you_mean(threat_model, threats)}")
        if (num_classes, in_channels) != (_CLASSES[dataset], 3):
            raise InputError(
                f"{place}: it is for {_CLASSES[dataset]} classes and 3 channels, the data have {num_classes} and "
                f"{in_channels}; give data of {dataset}'s classes"
            )
        timm: Any = library("timm", "timm")
        registered = f"{name.lower().replace('-', '_')}_{dataset}_{threat_model.lower()}"
        known = threats[threat_model]
        if name not in known and not timm.is_model(registered):
            raise InputError(f"{place}: unknown to RobustBench; {did_you_mean(name, known).partition(' Known:')[0]}")
        try:
            listed = not timm.is_model(registered)
            self.network = known[name]["model"]() if listed else timm.create_model(registered, num_classes=num_classes)
        except Exception as error:  # whatever its many constructors raise
            raise InputError(f"{place}: RobustBench cannot build it: {error}") from error

    @classmethod
    def names_weights(cls, settings: Mapping[str, Any]) -> bool:
        """A name there is one of weights."""
        return True

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, N x num_classes."""
        return self.network(images)

    def published(self) -> WeightFile:
        """The weights, downloaded by RobustBench into torch's cache."""
        utils: Any = library("robustbench.utils", "robustbench")
        folder = Path(torch.hub.get_dir()) / "robustbench"
        try:
            network = utils.load_model(self.name, str(folder), self.dataset, self.threat_model)
        except Exception as error:  # of the download, and of what came
            raise InputError(
                f"--model robustbench:{self.name}: RobustBench cannot load it: {' '.join(str(error).split())[:300]}; "
                f"{NO_NETWORK}"
            ) from error
        return WeightFile(
            within(network.state_dict()), found=f"RobustBench's {self.dataset}/{self.threat_model}/{self.name}"
        )
