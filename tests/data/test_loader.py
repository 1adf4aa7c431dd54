from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from toughen.batch import Batch
from toughen.data import Augment, ImageFolder, ImageSet, Loader, epoch_order, hold
from toughen.errors import DataError, InputError

FIXED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)


@pytest.fixture
def encoded(tmp_path: Path, write_folder: Callable[..., None]) -> ImageSet:
    write_folder(tmp_path / "train", range(80))
    return ImageFolder(tmp_path, channels=1).load("train")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def equal(one: Batch, other: Batch) -> bool:
    return (
        torch.equal(one.images, other.images)
        and torch.equal(one.labels, other.labels)
        and torch.equal(indices(one), indices(other))
    )


def indices(batch: Batch) -> torch.Tensor:
    assert batch.indices is not None
    return batch.indices


def visited(loader: Loader) -> list[int]:
    return [int(index) for batch in loader for index in indices(batch)]


def test_batches_hold_the_images_that_their_indices_say(small_set: ImageSet) -> None:
    loader = Loader(small_set, None, 12, device="cpu", shuffle=True)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [12] * 6 + [8]
    assert len(loader) == 7
    for batch in batches:
        batch.check(10)
        images, labels = small_set.subset(indices(batch))
        assert (batch.images.dtype, indices(batch).dtype) == (torch.float32, torch.int64)
        assert torch.equal(batch.images, images)
        assert torch.equal(batch.labels, labels)


def test_every_epoch_visits_every_image_once_in_its_own_order(small_set: ImageSet) -> None:
    loader = Loader(small_set, None, 12, device="cpu", shuffle=True, seed=7)
    for epoch in range(3):
        assert visited(loader) == epoch_order(80, 7, epoch).tolist()


def test_without_shuffling_the_order_is_that_of_the_indices(small_set: ImageSet) -> None:
    chosen = torch.tensor([70, 3, 5, 41, 6])
    loader = Loader(small_set, chosen, 2, device="cpu", shuffle=False)
    assert visited(loader) == visited(loader) == chosen.tolist()
    shuffled = Loader(small_set, chosen, 2, device="cpu", shuffle=True)
    assert sorted(visited(shuffled)) == sorted(chosen.tolist())


def test_drop_last(small_set: ImageSet) -> None:
    loader = Loader(small_set, None, 12, device="cpu", shuffle=True, drop_last=True)
    assert [len(batch) for batch in loader] == [12] * 6
    assert len(loader) == 6


@FIXED
@given(st.integers(1, 80), st.integers(1, 30), st.integers(0, 5), st.integers(0, 2**40), st.data())
def test_a_run_that_was_stopped_sees_the_same_remaining_batches(
    small_set: ImageSet, n: int, batch_size: int, epoch: int, seed: int, data: st.DataObject
) -> None:
    def loader(state: torch.Generator) -> Loader:
        return Loader(
            small_set,
            torch.arange(80 - n, 80),
            batch_size,
            device="cpu",
            augment=Augment(crop=1),
            generator=state,
            shuffle=True,
            seed=seed,
        )

    draws = generator(seed)
    whole = loader(draws)
    stop = data.draw(st.integers(0, len(whole)))
    whole.start(epoch)
    running, saved = iter(whole), draws.get_state()
    for _ in range(stop):
        next(running)
        saved = draws.get_state()
    rest = [*running, *whole]  # to the end of this epoch, and the next one

    restored = generator(99)
    restored.set_state(saved)
    resumed = loader(restored)
    resumed.start(epoch, stop)
    again = [*resumed, *resumed]
    assert len(rest) == len(again) == 2 * len(whole) - stop
    assert all(equal(one, other) for one, other in zip(rest, again, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_batches_are_those_of_decoded_images(encoded: ImageSet, workers: int) -> None:
    def batches(images: ImageSet, workers: int) -> list[Batch]:
        loader = Loader(
            images,
            torch.arange(5, 75),
            16,
            device="cpu",
            augment=Augment(crop=1),
            generator=generator(),
            shuffle=True,
            seed=3,
            workers=workers,
        )
        loader.start(1, 2)
        return list(loader)

    streamed, held = batches(encoded, workers), batches(hold(encoded, "cpu"), 0)
    assert len(streamed) == len(held) == 3
    assert all(equal(one, other) for one, other in zip(streamed, held, strict=True))


@FIXED
@given(st.integers(1, 80), st.integers(1, 4), st.integers(1, 8), st.booleans(), st.booleans())
def test_ranks_share_every_batch(
    small_set: ImageSet, n: int, world_size: int, share: int, shuffle: bool, drop_last: bool
) -> None:
    assume(n >= share * world_size)  # fewer images than a batch may be an error, which has its own test

    def batches(rank: int, of: int) -> list[list[int]]:
        loader = Loader(
            small_set,
            torch.arange(n),
            share * world_size,
            device="cpu",
            shuffle=shuffle,
            drop_last=drop_last,
            rank=rank,
            world_size=of,
        )
        return [indices(batch).tolist() for batch in loader]

    ranks = [batches(rank, world_size) for rank in range(world_size)]
    steps = [sorted(index for rank in ranks for index in rank[step]) for step in range(len(ranks[0]))]
    seen = list(chain(*steps))
    assert len({len(rank) for rank in ranks}) == 1
    assert len(seen) == len(set(seen))
    for step in range(len(steps)):
        sizes = [len(rank[step]) for rank in ranks]
        assert max(sizes) - min(sizes) <= (0 if shuffle else 1)
        assert not shuffle or sizes[0] >= min(2, share, n // world_size)
    if drop_last:
        assert len(seen) == n - n % (share * world_size)
    else:
        assert n - len(seen) < (world_size if shuffle else 1)
    # What is dealt out is what one process sees, but at the end of the epoch.
    alone = batches(0, 1)
    full = max(0, len(alone) - 2)
    assert steps[:full] == [sorted(batch) for batch in alone[:full]]


def test_a_last_image_of_its_own_joins_the_batch_before(small_set: ImageSet) -> None:
    def sizes(n: int, batch_size: int, **others: bool) -> list[int]:
        loader = Loader(small_set, torch.arange(n), batch_size, device="cpu", **{"shuffle": True, **others})
        batches = list(loader)
        assert len(batches) == len(loader)
        return [len(batch) for batch in batches]

    assert sizes(25, 12) == [12, 13]
    assert sizes(26, 12) == [12, 12, 2]
    assert sizes(25, 12, drop_last=True) == [12, 12]
    assert sizes(25, 12, shuffle=False) == [12, 12, 1]
    assert sizes(1, 12) == [1]  # there is none before
    assert sizes(3, 1) == [1, 1, 1]  # asked for


def test_resuming_at_a_larger_last_batch(small_set: ImageSet) -> None:
    loader = Loader(small_set, torch.arange(37), 12, device="cpu", shuffle=True, seed=3)
    whole = list(loader)
    assert [len(batch) for batch in whole] == [12, 12, 13]
    assert sorted(index for batch in whole for index in indices(batch).tolist()) == list(range(37))
    loader.start(0, 2)
    (last,) = loader
    assert equal(last, whole[2])


def test_the_global_generator_is_left_alone(encoded: ImageSet) -> None:
    state = torch.get_rng_state()
    for workers in (0, 1):
        list(Loader(encoded, None, 40, device="cpu", shuffle=True, workers=workers))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_without_a_workers_traceback(
    encoded: ImageSet, tmp_path: Path, workers: int, truncate: Callable[[Path], None]
) -> None:
    damaged = next((tmp_path / "train" / "6").iterdir())
    truncate(damaged)
    with pytest.raises(DataError) as caught:
        list(Loader(encoded, None, 16, device="cpu", shuffle=True, workers=workers))
    assert str(caught.value).startswith(f"{damaged} is not a readable image")
    assert "Traceback" not in str(caught.value)


def test_start_at_the_end_of_an_epoch_gives_nothing_and_then_the_next(small_set: ImageSet) -> None:
    loader = Loader(small_set, None, 40, device="cpu", shuffle=True)
    loader.start(3, 2)
    assert visited(loader) == []
    assert visited(loader) == epoch_order(80, 0, 4).tolist()


@pytest.mark.parametrize(("epoch", "step"), [(-1, 0), (0, -1), (0, 3)])
def test_start_outside_the_epoch(small_set: ImageSet, epoch: int, step: int) -> None:
    with pytest.raises(InputError, match=r"start: expected epoch >= 0 and step in 0 \.\. 2"):
        Loader(small_set, None, 40, device="cpu", shuffle=True).start(epoch, step)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, r"batch_size: expected a positive multiple .* \(1\), got 0"),
        (
            {"batch_size": 9, "world_size": 2},
            r"expected a positive multiple of the number of processes \(2\), got 9",
        ),
        ({"batch_size": 81, "drop_last": True}, r"batch_size: 80 images are too few for batches of 81"),
        ({"indices": torch.arange(0)}, r"0 images are too few"),
        (
            {"indices": torch.arange(3), "batch_size": 4, "world_size": 4},
            r"3 images are too few .* 4 processes",
        ),
        ({"indices": torch.tensor([1, 80])}, r"indices: expected values in 0 \.\. 79, got 1 \.\. 80"),
        ({"augment": Augment()}, r"generator: expected a torch\.Generator"),
    ],
)
def test_wrong_arguments(small_set: ImageSet, wrong: dict, message: str) -> None:
    arguments = {"indices": None, "batch_size": 8, "device": "cpu", "shuffle": True, **wrong}
    with pytest.raises(InputError, match=message):
        Loader(small_set, **arguments)


def test_augmented_images_stay_in_zero_one_and_are_moved_scans(small_set: ImageSet, scans: np.ndarray) -> None:
    loader = Loader(small_set, None, 80, device="cpu", augment=Augment(crop=2), generator=generator(), shuffle=False)
    (batch,) = loader
    batch.check(10)
    moved = sum(
        not torch.equal(new, old) for new, old in zip(batch.images, small_set.subset(indices(batch))[0], strict=True)
    )
    assert moved > 70  # 1 in 50 keeps its place and is not mirrored


def test_a_batch_says_where_its_images_were_placed(small_set: ImageSet) -> None:
    arguments = {"device": "cpu", "shuffle": True, "seed": 3}
    loader = Loader(small_set, None, 16, augment=Augment(crop=2), generator=generator(), **arguments)
    for batch in loader:
        stored, _ = small_set.subset(indices(batch))
        assert batch.placement is not None
        assert torch.equal(batch.placement.apply(stored), batch.images)
    assert all(batch.placement is None for batch in Loader(small_set, None, 16, **arguments))
