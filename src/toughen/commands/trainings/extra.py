"""Extra training images for `train`: labelled where they have no labels, and joined to the training set."""

from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from toughen.commands.images.classes import check_same_order
from toughen.data import ExtraImages, Filling, ImageSet, ImageStore, hold
from toughen.errors import InputError, RunError
from toughen.hardware.processes import Processes
from toughen.models.build import check_outputs
from toughen.models.inference import NO_PREDICTION, classes_of, frozen
from toughen.models.load import load_model
from toughen.models.outputs import giving_logits
from toughen.random_state import seeded
from toughen.reading.files import readable
from toughen.reading.schema import UnfitError
from toughen.reading.tensors import read_tensors
from toughen.run import RunFolder
from toughen.run.manifest import check, recorded


def hold_with_extra(
    extra: ExtraImages | None, training_set: ImageSet, folder: RunFolder, device: torch.device
) -> tuple[ImageSet, Filling | None]:
    """The training set followed by the extra images, decoded on the device where they fit, and how they fill batches.

    With a `pseudo_labeller` the labels are written to the run's folder, where a resumed run finds them again.

    Raises:
        DataError: the extra images cannot be used.
        InputError: the `pseudo_labeller`'s model does not fit the images or the classes.
        RunError: the `pseudo_labeller` is not a usable run folder.
    """
    if extra is None:
        return hold(training_set, device), None
    label = None
    if extra.pseudo_labeller is not None:
        labeller = RunFolder(Path(extra.pseudo_labeller).expanduser())
        check_same_order(labeller, training_set.classes)
        label = partial(_label_once, labeller, folder.pseudo_labels, len(training_set.classes), device)
    # Decoded in memory: together with the extra images they may be too many for the device, and are then streamed.
    joined = extra.join(hold(training_set, "cpu"), label)
    first = len(training_set)
    return hold(joined, device), Filling(first, len(joined) - first, extra.fraction)


def pseudo_labels(
    model: nn.Module, images: ImageStore, classes: int, device: torch.device | str, batch_size: int = 500
) -> Tensor:
    """The model's most likely class of each image, int64 (N,), on the CPU.

    Raises:
        InputError: the model cannot take the images, has another number of classes, or gives NaN.
    """
    labels = torch.empty(len(images), dtype=torch.int64)
    with frozen(model, device) as judge:
        few = images.take(torch.arange(min(2, len(images)))).to(device) / 255
        judge = giving_logits(judge, few)
        check_outputs(judge, few, classes)
        for indices in torch.arange(len(images)).split(batch_size):
            labels[indices] = classes_of(judge, images.take(indices).to(device) / 255).cpu()
    failed = int((labels == NO_PREDICTION).sum())
    if failed:
        raise InputError(
            f"the model that is to label images gives NaN for {failed} of {len(images)}; give another run's folder"
        )
    return labels


def _label_once(labeller: RunFolder, file: Path, classes: int, device: torch.device, images: ImageStore) -> Tensor:
    """The labels in `file`, made by the labeller's model, in the first process, if it is not there yet."""
    processes = Processes.from_environment()
    if processes.first and not file.exists():
        with seeded(0):  # a run that goes on reads them, and must draw the same from there
            labels = pseudo_labels(load_model(labeller), images, classes, device)
        with recorded(file) as path:
            save_file({"labels": labels}, path)
    processes.wait()
    check(file, "delete it, and the images are labelled again")
    with readable(file, "delete it, and the images are labelled again"):
        labels = read_tensors(file).get("labels", torch.zeros(0))
        known = labels.dtype == torch.int64 and labels.ndim == 1
        if not known or not all(0 <= label < classes for label in labels.tolist()):
            raise UnfitError(f"expected whole numbers from 0 to {classes - 1}, called labels")
    if len(labels) != len(images):
        raise RunError(
            f"{file} holds {len(labels)} labels for {len(images)} extra images: the images have changed; restore them "
            "or start the run again with --overwrite"
        )
    return labels
