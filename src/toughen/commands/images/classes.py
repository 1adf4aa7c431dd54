"""The names of a model's classes, which its run keeps, beside those of other images."""

from pathlib import Path

from toughen.data import ImageSet
from toughen.errors import InputError
from toughen.run import RunFolder


def with_model_labels(images: ImageSet, weights: Path | None, run: RunFolder | None) -> ImageSet:
    """The images with labels in the order of the model's logits, matched by the classes' names.

    The names are those that lie beside the weights, or else the run's. Where there are none, as for weights from
    elsewhere, nothing can be compared, and the labels stay.

    Raises:
        InputError: the images have other classes; both lists are shown.
        RunError: names that cannot be read.
    """
    beside = None if weights is None else RunFolder(weights.parent)
    for folder in (beside, run):
        names = None if folder is None else folder.read_classes()
        if folder is not None and names is not None:
            return images.in_order_of(names, str(folder.classes))
    return images


def check_same_order(run: RunFolder, classes: tuple[str, ...]) -> None:
    """Raise unless the logits of another run's model, where it keeps their names, are those of these classes.

    Raises:
        InputError: other names, or the same in another order; both lists are shown.
        RunError: names that cannot be read.
    """
    names = run.read_classes()
    if names is not None and names != classes:
        raise InputError(
            f"{run.path}: its model has other classes, or the same in another order.\n"
            f"  {run.classes}: {', '.join(names)}\n  expected: {', '.join(classes)}\n"
            "give a run that was trained with these classes in this order"
        )
