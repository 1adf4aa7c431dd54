"""A run's images, read and examined before anything else is done."""

from toughen.data import DataSource, Encoded, ImageSet, Split
from toughen.errors import DataError
from toughen.hardware.processes import Processes


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
