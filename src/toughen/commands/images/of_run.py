"""A run's images: read and examined before anything else is done, and read again as the run has them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from toughen.commands.images.kept import as_in_run
from toughen.data.collection import Collection, Splittable
from toughen.data.source import DataSource, ImageSet, Split
from toughen.data.survey import Survey, survey
from toughen.errors import DataError
from toughen.run import RunFolder


def images_of_run(source: DataSource, splits: Sequence[Split], folder: RunFolder | None) -> Survey:
    """These splits of the data, with the classes in one order.

    Args:
        source: of the data.
        splits: which are needed, train among them.
        folder: that of a run that goes on, whose images were examined before.

    Raises:
        DataError: see `read_images`; the splits, or the run, have other classes.
        RunError: what the run has kept of its images is damaged.
    """
    found = read_images(as_in_run(source, folder), splits, examine=folder is None)
    kept = None if folder is None else folder.read_classes()
    # Labels keep their meaning in the test set, and when a run goes on.
    names, whose = (found.sets["train"].classes, "the training images")
    if kept is not None and folder is not None:
        names, whose = kept, str(folder.classes)
    return replace(found, sets={split: each.in_order_of(names, whose) for split, each in found.sets.items()})


def images_of_split(source: DataSource, split: Split, folder: RunFolder | None) -> ImageSet:
    """One split of the data as a run has it, not examined.

    Raises:
        DataError: see `read_images`.
        RunError: what the run has kept of its images is damaged.
    """
    return read_images(as_in_run(source, folder), [split], examine=False).sets[split]


def read_images(source: DataSource, splits: Sequence[Split], examine: bool = True) -> Survey:
    """These splits of the data, and what is odd about them.

    Args:
        source: of the data.
        splits: which are needed.
        examine: decode every image, so that damaged ones are found now; of several processes the first one does.

    Raises:
        DataError: files are missing, or damaged (all are named together); fewer than two classes.
    """
    if isinstance(source, Collection):
        # What a run left out is left out by name, without another look at all images.
        kept = source.kept if isinstance(source, Splittable) else None
        known = kept is not None and kept.looked_at.issuperset(splits)
        found = survey(source.listed(splits), source.skip_bad and not known, examine)
    else:
        found = survey({split: source.load(split) for split in splits}, False, examine)
    for split, each in found.sets.items():
        if len(each.classes) < 2:
            raise DataError(
                f"the {split} images of {each.name} are of {len(each.classes)} class; expected at least two classes to "
                "tell apart"
            )
    return found


def told_by_images(images: ImageSet) -> dict[str, Any]:
    """What the images tell a network: see `with_facts`."""
    channels, height, width = images.shape
    size = height if height == width else None
    return {"num_classes": len(images.classes), "in_channels": channels, "image_size": size}
