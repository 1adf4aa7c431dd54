"""Taking the batches of an update several times."""

from dataclasses import replace

from toughen.batch import Batch
from toughen.methods import Terms
from toughen.training.updates import Updates


def take(
    updates: Updates, group: list[Batch], replays: int, *, epoch: int, end: int, last: bool, clean: bool
) -> list[Terms]:
    """Take these batches in turn, `replays` times over; the terms of each when it was taken last.

    Args:
        updates: the run's.
        group: all batches of an update, or a single one of them that is taken once.
        replays: how often they are taken.
        epoch: its number, from 0.
        end: number of the group's last batch in its epoch, from 0.
        last: whether that is the epoch's last one.
        clean: leave the images as they are, without an inner maximum.
    """
    places, found = range(end + 1 - len(group), end + 1), list[Terms]()
    parts = [
        replace(batch, part=place % updates.settings.accumulate) for batch, place in zip(group, places, strict=True)
    ]
    for _ in range(replays):
        found = [
            updates.take(batch, epoch, place, last and place == end, clean)
            for batch, place in zip(parts, places, strict=True)
        ]
    return found
