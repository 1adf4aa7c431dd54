"""What is odd about the images of a run, found before anything else is done and said all at once."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from toughen.data.decode import Look
from toughen.data.encoded import Chosen, Encoded, scan
from toughen.data.kinds import listed, not_read, parted
from toughen.data.source import ImageSet, Split
from toughen.errors import DataError, ToughenWarning
from toughen.hardware.processes import Processes
from toughen.reading.run_images import RunImages

ODD = {
    "frames": "of several frames: the first is taken",
    "turned": "turned upright, as the EXIF orientation says",
    "grey": "in grey: three equal channels are made of it",
    "colour": "in colour: turned to grey",
    "transparent": "with transparency, which is dropped",
    "cmyk": "in CMYK: converted to RGB, without a colour profile",
    "deep": "of 16 bits a channel: the upper 8 are taken",
    "dark": "of 16 bits a channel that uses less than a quarter of its range: the upper 8 are taken, nearly black",
}
"""What decoding changes beside the size, and how; the keys are those of `Look.odd`."""
UNIFORM = ("grey", "colour")
"""These are odd where only some images are so."""
IMBALANCE = 10
"""Times as many images as the smallest class has are said."""


@dataclass(frozen=True)
class LeftOut:
    """A file that is not used: its split, its name within the data, and why."""

    split: Split
    image: str
    why: str


@dataclass
class Survey:
    """What was found.

    Attributes:
        sets: the images that are used, by split.
        left_out: files that are not.
        odd: how many images are odd, by the keys of `ODD`.
        sizes: how many images are of each height and width, where they were decoded.
        problems: what has to be decided first, in words.
        notes: what is done with the rest, in words.
    """

    sets: dict[Split, ImageSet] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    odd: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def facts(self) -> RunImages:
        """Plain data for the run's folder."""
        return {
            "name": next(iter(self.sets.values())).name,
            "splits": {split: count_by_class(each) for split, each in self.sets.items()},
            "drawn": any(each.drawn for each in self.sets.values()),
            "odd": [{"what": ODD[key], "images": count} for key, count in self.odd.most_common()],
            "left_out": [{"split": each.split, "image": each.image, "why": each.why} for each in self.left_out],
        }


def survey(sets: Mapping[Split, ImageSet], skip_bad: bool, examine: bool = True) -> Survey:
    """Look at images before they are used; one warning says what is left out and what is done with odd ones.

    Args:
        sets: images by split, as they were found.
        skip_bad: leave out what cannot be read.
        examine: decode every image, and look at the classes; otherwise only with `skip_bad`.

    Raises:
        DataError: with everything that has to be decided: images that cannot be read, files of kinds that are not
            read, sizes that differ, classes without images.
    """
    found = Survey()
    named: dict[str, list[str]] = {}
    for split, images in sets.items():
        _sort_out_files(found, split, images, skip_bad)
        store, looks = images.images, list[Look | DataError]()
        if isinstance(store, Encoded) and (skip_bad or (examine and Processes.from_environment().first)):
            looks = scan(store.source, store.channels)
            images = _sort_out_images(found, split, images, store, looks, skip_bad)
        for place, look in enumerate(looks):
            if isinstance(look, Look) and isinstance(store, Encoded):
                found.sizes[look.height, look.width] += 1
                for key in look.odd:
                    named.setdefault(key, []).append(store.source.name(place))
        found.sets[split] = images
    if examine:
        _note_odd(found, named)
        _compare_sizes(found)
        _compare_classes(found)
    _say(found, skip_bad)
    return found


def count_by_class(images: ImageSet) -> dict[str, int]:
    """Number of images by class."""
    counts = images.labels.bincount(minlength=len(images.classes)).tolist()
    return dict(zip(images.classes, counts, strict=True))


def _sort_out_files(found: Survey, split: Split, images: ImageSet, skip_bad: bool) -> None:
    notes, strange = parted(images.others)
    if strange and not skip_bad:
        found.problems.append(f"{split}: {not_read(strange)}")
    gone = [*notes, *strange] if skip_bad else notes
    if gone:
        found.notes.append(f"{split}: left out: {not_read(gone)}")
        found.left_out += [LeftOut(split, path, "of a kind that is not read") for path in gone]


def _sort_out_images(
    found: Survey, split: Split, images: ImageSet, store: Encoded, looks: Sequence[Look | DataError], skip_bad: bool
) -> ImageSet:
    damaged = {place: str(look) for place, look in enumerate(looks) if isinstance(look, DataError)}
    if not damaged:
        return images
    many = "1 image" if len(damaged) == 1 else f"{len(damaged):,} images"
    text = listed(f"{many} that cannot be read", list(damaged.values()))
    if not skip_bad:
        found.problems.append(f"{split}: {text}")
        return images
    found.notes.append(f"{split}: left out: {text}")
    found.left_out += [LeftOut(split, store.source.name(place), why) for place, why in damaged.items()]
    kept = [place for place in range(len(looks)) if place not in damaged]
    left = replace(
        images,
        images=Encoded(Chosen(store.source, kept), store.channels, store.size, store.like),
        labels=images.labels[kept],
    )
    before = count_by_class(images)
    emptied = [name for name, count in count_by_class(left).items() if before[name] and not count]
    found.problems += [f"{split}: class {name} has no readable image: replace some or remove it" for name in emptied]
    return left


def _note_odd(found: Survey, named: Mapping[str, list[str]]) -> None:
    total = found.sizes.total()
    for key, paths in named.items():
        if key in UNIFORM and len(paths) == total:
            continue
        found.odd[key] = len(paths)
        images = "1 image" if len(paths) == 1 else f"{len(paths):,} images"
        such = ", ".join(paths[:3]) + (", ..." if len(paths) > 3 else "")
        if key == "dark" and "deep" not in named:
            found.problems.append(f"{images} {ODD[key]}; save them with 8 bits a channel ({such})")
        else:
            found.notes.append(f"{images} {ODD[key]} ({such})")


def _compare_sizes(found: Survey) -> None:
    stores = [each.images for each in found.sets.values() if isinstance(each.images, Encoded)]
    if len(found.sizes) < 2 or any(store.size is not None for store in stores):
        return
    sizes = [f"{count:,} of {width} x {height}" for (height, width), count in found.sizes.most_common(5)]
    more = f" and {len(found.sizes) - 5:,} other sizes" if len(found.sizes) > 5 else ""
    shortest = min(min(size) for size in found.sizes)
    found.problems.append(
        f"images of different sizes: {', '.join(sizes)} pixels{more}; bring them to one size, such as "
        f"--data.size {shortest}"
    )


def _compare_classes(found: Survey) -> None:
    train, test = (found.sets.get(split) for split in ("train", "test"))
    if train is None:
        return
    counts = count_by_class(train)
    tested = count_by_class(test) if test is not None and test.classes == train.classes else counts
    unseen = [name for name, count in counts.items() if not count and tested[name]]
    if unseen:
        found.problems.append(f"no training image of {_few(unseen)}, of which there are test images")
    untested = [name for name, count in counts.items() if count and not tested[name]]
    if untested:
        found.notes.append(f"no test image of {_few(untested)}")
    there = {name: count for name, count in counts.items() if count}
    if len(there) < 2:
        found.problems.append(
            f"training images of {_few(list(there)) or 'no class'} alone; expected at least two classes"
        )
    most, fewest = max(there, key=there.__getitem__, default=""), min(there, key=there.__getitem__, default="")
    if there and there[most] >= IMBALANCE * there[fewest]:
        found.notes.append(
            f"classes of very different numbers: {there[most]:,} training images of {most}, {there[fewest]:,} of "
            f"{fewest}; --class_weight balanced gives every class the same weight in the loss"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} other classes" if len(names) > 5 else "")


def _say(found: Survey, skip_bad: bool) -> None:
    names = ", ".join(dict.fromkeys(each.name for each in found.sets.values()))
    if found.problems:
        first = f"{names}: {len(found.problems)} to put right before anything is done with the images"
        lines = [first, *found.problems]
        if found.notes:
            lines += ["and of the others:", *found.notes]
        if not skip_bad and any("read" in each for each in found.problems):
            lines.append("Replace or remove what cannot be read, or leave it out with --data.skip_bad true")
        raise DataError("\n".join(lines))
    if found.notes and Processes.from_environment().first:
        warnings.warn("\n".join([f"{names}:", *found.notes]), ToughenWarning, stacklevel=4)
