"""A run's images, read and examined before anything else is done."""

from toughen.data import DataSource, Encoded, ImageSet, Split
from toughen.errors import DataError
from toughen.hardware.processes import Processes
from toughen.run import RunFolder


def images_of_run(source: DataSource, splits: list[Split], folder: RunFolder | None) -> dict[Split, ImageSet]:
    """These splits of the data, with the classes in one order.

    Args:
        source: of the data.
        splits: which are needed, train among them.
        folder: that of a run that goes on, whose images were examined before.

    Raises:
        DataError: see `read_images`; the splits, or the run, have other classes.
    """
    images = read_images(source, splits, examine=folder is None)
    kept = None if folder is None else folder.read_classes()
    # Labels keep their meaning in the test set, and when a run goes on.
    names, whose = (images["train"].classes, "the training images")
    if kept is not None and folder is not None:
        names, whose = kept, str(folder.classes)
    return {split: found.in_order_of(names, whose) for split, found in images.items()}


def read_images(source: DataSource, splits: list[Split], examine: bool = True) -> dict[Split, ImageSet]:
    """These splits of the data.

    Args:
        source: of the data.
        splits: which are needed.
        examine: decode every image, so that damaged ones are found now; of several processes the first one does.

    Raises:
        DataError: files are missing, or damaged (all are named together); fewer than two classes.
    """
    images = {split: source.load(split) for split in splits}
    for split, each in images.items():
        if len(each.classes) < 2:
            raise DataError(
                f"the {split} images of {each.name} are of {len(each.classes)} class; expected at least two classes to "
                "tell apart"
            )
    stores = {split: each.images for split, each in images.items()}
    damages = []
    for split, store in stores.items():
        if examine and isinstance(store, Encoded) and Processes.from_environment().first:
            try:
                store.check()
            except DataError as error:
                damages.append(f"{split}: {error}")
    if damages:
        raise DataError("\n".join(damages))
    return images
