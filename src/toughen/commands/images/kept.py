"""What a run keeps of its images: counts, what was left out, and which are for training, where it drew the split."""

import shutil
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from toughen.data.collection import Kept, Splittable
from toughen.data.source import DataSource, Split
from toughen.data.survey import Survey
from toughen.errors import InputError, RunError
from toughen.reading.files import readable
from toughen.reading.schema import UnfitError
from toughen.reading.tables import read_columns
from toughen.run import RunFolder
from toughen.run.manifest import check, checksum, recorded
from toughen.settings.description import describe

LEFT_OUT = "left out"
"""Stands for the split of an image that a run did not use."""
COLUMNS = ("image", "split", "why")


def keep_images(folder: RunFolder, source: DataSource, found: Survey) -> None:
    """Write what the images of a run are, and, where it drew the split or left some out, which; once."""
    if folder.data.exists():
        return
    drawn = any(each.drawn for each in found.sets.values())
    if isinstance(source, Splittable) and (drawn or found.left_out):
        gone = {each.image: each.why for each in found.left_out}
        rows: list[tuple[str, str, str | None]] = [(image, LEFT_OUT, why) for image, why in gone.items()]
        # Test images too where the run looks at none, so that they stay what they are.
        for split, images in source.listed(("train", "test")).items() if drawn else ():
            store: Any = images.images
            names = map(store.source.name, range(len(images)))
            rows += [(name, split, None) for name in names if name not in gone]
        columns = [pa.array([row[place] for row in rows], pa.string()) for place in range(len(COLUMNS))]
        with recorded(folder.images) as path:
            pq.write_table(pa.table(columns, COLUMNS), path)
    folder.write_data(found.facts())


def keep_split_of(run: RunFolder | None, folder: RunFolder) -> None:
    """Write what a run has kept of its images into another folder too, where it is evaluated."""
    if run is not None and run.images.exists():
        for file, copy in ((run.images, folder.images), (run.data, folder.data)):
            with recorded(copy) as path:
                shutil.copyfile(file, path)


def as_in_run(source: DataSource, folder: RunFolder | None) -> DataSource:
    """The source with the split that a run drew, if it did and this is the run's source.

    Raises:
        RunError: what the run has kept is damaged.
    """
    if folder is None or not isinstance(source, Splittable) or not folder.images.exists():
        return source
    if folder.read_config().get("data") != describe(source):
        return source
    advice = "restore it from a copy; without it nobody knows which images were trained on"
    check(folder.images, advice)
    splits: dict[str, Split] = {}
    left_out = set()
    with readable(folder.images, advice, RunError):
        table = read_columns(folder.images)
        if table.schema.names != list(COLUMNS) or any(field.type != pa.string() for field in table.schema):
            raise UnfitError(f"expected the columns {', '.join(COLUMNS)} of text")
        for image, split in zip(table["image"].to_pylist(), table["split"].to_pylist(), strict=True):
            if image is None or split not in ("train", "test", LEFT_OUT):
                raise UnfitError("expected an image and train, test or left out in every row")
            if split == LEFT_OUT:
                left_out.add(image)
            else:
                splits[image] = split
    facts = folder.read_data()
    looked_at = frozenset(() if facts is None else facts["splits"])
    return source.as_in(Kept(splits, frozenset(left_out), looked_at, str(folder.images)))


def check_same_split(folders: Sequence[RunFolder]) -> None:
    """Raise where runs have drawn other splits of their images than the first one.

    Raises:
        InputError: naming the first that has.
    """
    sums = []
    for folder in folders:
        with readable(folder.images, "restore it from a copy"):
            sums.append(checksum(folder.images) if folder.images.exists() else None)
    for folder, each in zip(folders, sums, strict=True):
        if each != sums[0]:
            raise InputError(
                f"{folder.path} has drawn another split of its images than {folders[0].path}: test images of one are "
                "training images of the other; take them one by one"
            )
