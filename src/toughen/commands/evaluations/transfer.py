"""The models and images of evaluated runs, for the matrix of all against all."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from toughen.commands.images.of_run import images_of_split
from toughen.data import sample_by_class
from toughen.data.source import DataSource, ImageSet
from toughen.errors import InputError, RunError
from toughen.evaluation import Verdicts, load_model, with_weights
from toughen.evaluation.analyses.transfer_matrix import TransferMatrix, transfer_matrix
from toughen.models.load import untrained
from toughen.numbers import check_number
from toughen.reports.evaluated import Evaluated
from toughen.run import RunFolder
from toughen.settings.stored import stored_object
from toughen.threat import described_threat

# What must agree before one run's images can be shown to another's model.
_SHARED = ("data", "test images", "hash of the test images", "threat")


def matrix_of_runs(
    runs: Sequence[Evaluated], images: int, device: str, progress: Callable[[str], None] | None = None
) -> TransferMatrix:
    """Show the adversarial images of every run to every run; see `transfer_matrix`.

    Args:
        runs: evaluated on the same images under the same threat model.
        images: how many of these images, drawn by class; all of them where there are fewer.
        device: auto, cpu, cuda or cuda:N.
        progress: told the name of each run before its images are crafted.

    Raises:
        InputError: fewer than two runs, or runs evaluated on other images or under another threat model.
        RunError: a run without its model, or data that is not what was evaluated.
    """
    check_number("transfer_images", images, least=1, whole=True)
    _check_shared(runs)
    first = runs[0].folder
    split = _images(first)
    return transfer_matrix(
        {run.name: _model(run.folder) for run in runs},
        split,
        _evaluated_places(first, split, images),
        described_threat(first.read_result()["threat"]),
        device=device,
        progress=progress,
    )


def _check_shared(runs: Sequence[Evaluated]) -> None:
    if len(runs) < 2:
        raise InputError(f"transfer: expected at least two runs to show each other's images, got {len(runs)}")
    for run in runs[1:]:
        for name in _SHARED:
            if run.protocol[name] != runs[0].protocol[name]:
                raise InputError(
                    f"transfer: expected runs evaluated on the same images under one threat model, but {run.name} has "
                    f"{name} {run.protocol[name]}, {runs[0].name} {runs[0].protocol[name]}; leave one of them out"
                )


def _images(folder: RunFolder) -> ImageSet:
    """The split that a run was evaluated on."""
    source: DataSource = stored_object(folder.read_config(), "data", DataSource, folder.config)
    evaluated = folder.read_result()["data"]
    images = images_of_split(source, evaluated["split"], folder)
    return images.in_order_of(evaluated["classes"], str(folder.result))  # the order of the models' logits


def _evaluated_places(folder: RunFolder, images: ImageSet, count: int) -> Tensor:
    """Where some images of a run's verdicts, drawn by class, lie in the split, checked by their labels."""
    table = Verdicts.read(folder.verdicts).table
    places, labels = (torch.tensor(table[name].to_pylist()) for name in ("index", "label"))
    if int(places.max()) >= len(images) or not torch.equal(images.labels[places], labels):
        raise RunError(
            f"{folder.path}: the images of {images.name} have other labels than those that were evaluated; "
            f"evaluate again with `toughen evaluate {folder.path} --overwrite`"
        )
    return places[sample_by_class(labels, count, seed=0)]


def _model(folder: RunFolder) -> nn.Module:
    """A run's own model, or the one with separate weights that was evaluated in its folder."""
    config = folder.read_config()
    if not folder.model.exists() and isinstance(config.get("weights"), str):
        return with_weights(untrained(folder), Path(config["weights"]))
    return load_model(folder)
