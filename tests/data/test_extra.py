from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from toughen.batch import Batch
from toughen.data import Augment, Decoded, ExtraImages, Filling, ImageFolder, ImageSet, Loader, epoch_order, hold
from toughen.data.extra import Joined
from toughen.data.order import endless_groups
from toughen.errors import DataError, InputError

COUNT = 33


@pytest.fixture(scope="session")
def more() -> tuple[np.ndarray, np.ndarray]:
    """33 more digit scans, none of them in `small_set`, uint8 33 x 8 x 8 x 1, and their labels."""
    digits = load_digits()
    images = np.rint(digits.images[80 : 80 + COUNT] * 255 / 16).astype(np.uint8)[..., None]
    return images, digits.target[80 : 80 + COUNT]


@pytest.fixture
def npz(tmp_path: Path, more: tuple[np.ndarray, np.ndarray]) -> Path:
    path = tmp_path / "generated.npz"
    np.savez(path, image=more[0], label=more[1])
    return path


def test_extra_images_follow_the_training_images(
    small_set: ImageSet, npz: Path, more: tuple[np.ndarray, np.ndarray]
) -> None:
    joined = ExtraImages(npz).join(small_set)
    assert len(joined) == len(joined.images) == 80 + COUNT
    assert (joined.classes, joined.name, joined.shape) == (small_set.classes, small_set.name, small_set.shape)
    mixed = torch.tensor([112, 3, 80, 79, 3, 95])
    images, labels = joined.subset(mixed)
    for image, label, index in zip(images, labels, mixed.tolist(), strict=True):
        if index < 80:
            expected, expected_label = small_set.subset(torch.tensor([index]))
            assert torch.equal(image, expected[0])
            assert label == expected_label[0]
        else:
            assert torch.equal(image, torch.from_numpy(more[0][index - 80, :, :, 0])[None] / 255)
            assert label == more[1][index - 80]


def test_pseudo_labels_take_the_place_of_labels(small_set: ImageSet, npz: Path) -> None:
    seen = []

    def labeller(images: object) -> torch.Tensor:
        seen.append(images)
        return torch.full((len(images),), 7)

    joined = ExtraImages(npz, pseudo_labeller="runs/other").join(small_set, labeller)
    assert len(seen) == 1
    assert joined.labels.tolist() == [*small_set.labels.tolist(), *[7] * COUNT]


def loader_of(images: ImageSet, fraction: float, batch_size: int = 12, n: int = 80, **others: object) -> Loader:
    filling = Filling(80, COUNT, fraction)
    settings = {"device": "cpu", "shuffle": True, "seed": 3, "extra": filling, **others}
    return Loader(images, torch.arange(n), batch_size, **settings)


def parts(batch: Batch) -> tuple[list[int], list[int]]:
    assert batch.indices is not None
    indices = batch.indices.tolist()
    return [index for index in indices if index < 80], [index for index in indices if index >= 80]


@pytest.fixture
def joined(small_set: ImageSet, npz: Path) -> ImageSet:
    return hold(ExtraImages(npz).join(small_set), "cpu")


@pytest.mark.parametrize(("fraction", "extra"), [(0.3, 4), (0.5, 6), (0.7, 8), (0.04, None), (0.97, None)])
def test_every_batch_has_its_fraction_and_an_epoch_is_a_pass_over_the_training_images(
    joined: ImageSet, fraction: float, extra: int | None
) -> None:
    if extra is None:
        with pytest.raises(InputError, match=r"extra\.fraction: .* of a batch of 12 is (0|12) images"):
            loader_of(joined, fraction)
        return
    loader = loader_of(joined, fraction, n=79)
    for epoch in range(3):
        loader.start(epoch)
        batches = list(loader)
        assert len(batches) == len(loader)
        assert [len(parts(batch)[0]) for batch in batches][:-1] == [12 - extra] * (len(loader) - 1)
        assert [len(parts(batch)[1]) for batch in batches][:-1] == [extra] * (len(loader) - 1)
        more = parts(batches[-1])[1]
        assert abs(len(more) / len(batches[-1]) - extra / 12) <= 1 / len(batches[-1])
        visited = [index for batch in batches for index in parts(batch)[0]]
        # As without extra images.
        assert visited == epoch_order(79, 3, epoch).tolist()


def test_extra_images_come_in_shuffled_passes_that_go_on_over_epochs(joined: ImageSet) -> None:
    def groups(seed: int) -> list[list[int]]:
        loader = loader_of(joined, 0.5, n=78, seed=seed)  # 13 full batches an epoch
        return [parts(batch)[1] for _ in range(5) for batch in loader]

    drawn = groups(3)
    passes = [list(chain(*drawn[start : start + 5])) for start in range(0, 65, 5)]  # 33 // 6 batches
    for each in passes:
        assert len(set(each)) == len(each) == 30
        assert set(each) <= set(range(80, 80 + COUNT))
    assert len({tuple(each) for each in passes}) == len(passes)
    seen = np.bincount(list(chain(*drawn)), minlength=113)[80:]
    assert seen.sum() == 65 * 6
    assert seen.min() >= 8  # of 13 passes, each without 3 images of 33
    assert groups(4) != drawn


@given(st.integers(1, 20), st.data())
def test_endless_groups_are_the_same_however_they_are_cut(n: int, data: st.DataObject) -> None:
    size, seed = data.draw(st.integers(1, n)), data.draw(st.integers(0, 2**33))
    start, a, b = (data.draw(st.integers(low, 30)) for low in (0, 1, 1))
    whole = endless_groups(n, size, seed, start, start + a + b)
    pieces = [
        endless_groups(n, size, seed, start, start + a),
        endless_groups(n, size, seed, start + a, start + a + b),
    ]
    assert torch.equal(torch.cat(pieces), whole)
    assert whole.shape == (a + b, size)
    assert all(len(set(group)) == size and set(group) <= set(range(n)) for group in whole.tolist())


def test_fewer_extra_images_than_a_batch_takes(joined: ImageSet) -> None:
    with pytest.raises(InputError, match=r"0\.6 of a batch of 60 is 36 images, but there are only 33 extra ones"):
        loader_of(joined, 0.6, batch_size=60)


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_and_streamed_batches_are_the_same(
    tmp_path: Path, npz: Path, write_folder: Callable[..., None], workers: int
) -> None:
    write_folder(tmp_path / "train", range(80))
    encoded = ImageFolder(tmp_path, channels=1).load("train")
    streamed = ExtraImages(npz).join(encoded)
    assert isinstance(streamed.images, Joined)
    held = hold(streamed, "cpu")
    assert isinstance(held.images, Decoded)

    def batches(images: ImageSet, workers: int, generator: torch.Generator, step: int) -> list[Batch]:
        loader = loader_of(images, 0.5, augment=Augment(crop=1), generator=generator, workers=workers)
        loader.start(1, step)
        return list(loader)

    whole = batches(held, 0, torch.Generator().manual_seed(1), 0)
    draws = torch.Generator().manual_seed(1)
    loader = loader_of(held, 0.5, augment=Augment(crop=1), generator=draws)
    loader.start(1)
    running = iter(loader)
    for _ in range(5):
        next(running)
    resumed = batches(streamed, workers, draws, 5)
    assert len(resumed) == len(whole) - 5
    for one, other in zip(resumed, whole[5:], strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.indices, other.indices)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_every_batch(joined: ImageSet, world_size: int) -> None:
    alone = list(loader_of(joined, 0.5))
    ranks = [list(loader_of(joined, 0.5, rank=rank, world_size=world_size)) for rank in range(world_size)]
    for step, batch in enumerate(alone[:-2]):
        shares = [parts(rank[step]) for rank in ranks]
        assert sorted(chain(*(own + more for own, more in shares))) == sorted(batch.indices.tolist())
        assert all(abs(len(own) - len(more)) <= 1 for own, more in shares)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": "image", "label": "label"}, r"has no 'image'; expected 'image', uint8 .* found: images, label"),
        ({"image": "image"}, r"has no 'label'; give --extra.pseudo_labeller"),
        ({"image": "floats", "label": "label"}, r"'image' is float64 of shape 33 x 8 x 8 x 1; expected .*uint8"),
        ({"image": "flat", "label": "label"}, r"of shape 33 x 8 x 8; expected .* N x 8 x 8 x 1, as the training"),
        ({"image": "first", "label": "label"}, r"of shape 33 x 1 x 8 x 8; expected"),
        ({"image": "small", "label": "label"}, r"of shape 33 x 7 x 8 x 1; expected"),
        ({"image": "none", "label": "label"}, r"of shape 0 x 8 x 8 x 1; expected"),
        ({"image": "image", "label": "few"}, r"'label' is int64 of shape 20; expected integers, one an image \(33\)"),
        ({"image": "image", "label": "column"}, r"'label' is int64 of shape 33 x 1; expected"),
        ({"image": "image", "label": "soft"}, r"'label' is float64 of shape 33; expected integers"),
        ({"image": "image", "label": "high"}, r"labels lie in 1 \.\. 10, expected 0 \.\. 9 for the data's 10 classes"),
        ({"image": "image", "label": "low"}, r"labels lie in -1 \.\. 8, expected"),
    ],
)
def test_files_of_another_layout(
    tmp_path: Path,
    small_set: ImageSet,
    more: tuple[np.ndarray, np.ndarray],
    arrays: dict[str, str],
    message: str,
) -> None:
    image, label = more
    made = {
        "image": image,
        "floats": image / 255,
        "flat": image[..., 0],
        "first": image.transpose(0, 3, 1, 2),
        "small": image[:, 1:],
        "none": image[:0],
        "label": label,
        "few": label[:20],
        "column": label[:, None],
        "soft": label.astype(float),
        "high": label + 1,
        "low": label - 1,
    }
    path = tmp_path / "a.npz"
    np.savez(path, **{name: made[kind] for name, kind in arrays.items()})
    with pytest.raises(DataError, match=message):
        ExtraImages(path).join(small_set)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 30])
def test_fractions(fraction: float) -> None:
    with pytest.raises(InputError, match=r"extra\.fraction: expected a number between 0 and 1 such as 0\.5"):
        ExtraImages("a.npz", fraction=fraction)


def test_bytes_that_were_changed_on_the_disk_are_found(
    small_set: ImageSet, npz: Path, more: tuple[np.ndarray, np.ndarray]
) -> None:
    """The array is mapped, and nothing else compares it with the checksum that the file has of it."""
    content = bytearray(npz.read_bytes())
    place = content.index(more[0][20].tobytes())
    content[place + 5] ^= 0xFF
    npz.write_bytes(content)
    with pytest.raises(DataError, match=r"generated\.npz is not a readable \.npz file: Bad CRC-32 .*'image\.npy'"):
        ExtraImages(npz).join(small_set)
