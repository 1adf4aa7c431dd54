import numpy as np
import torch
from sklearn.datasets import load_digits

from toughen.data import Digits


def test_the_two_splits_are_the_whole_set_and_nothing_else() -> None:
    train, test = Digits().load("train"), Digits().load("test")
    assert (len(train), len(test)) == (1437, 360)
    source = load_digits()
    # In 0 .. 16 units again: 255 / 16 is over 15, so rounding to uint8 loses nothing.
    pixels = torch.cat([part.images.take(torch.arange(len(part))) for part in (train, test)])
    back = np.rint(pixels.double().numpy() * 16 / 255).reshape(-1, 64)
    rows = np.column_stack([back, torch.cat([train.labels, test.labels]).numpy()])
    expected = np.column_stack([source.data, source.target])
    np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(expected, axis=0))
    assert len(rows) == len(expected)


def test_every_class_has_its_share_of_the_test_set() -> None:
    counts = Digits().load("test").labels.bincount()
    share = np.bincount(load_digits().target) * 360 / 1797
    assert np.abs(counts.numpy() - share).max() < 1


def test_values_are_scaled_and_rounded() -> None:
    pixels = Digits().load("train").images.take(torch.arange(1437))
    assert pixels.dtype == torch.uint8
    assert pixels.unique().tolist() == [round(v * 255 / 16) for v in range(17)]


def test_the_seed_chooses_the_split() -> None:
    first, again, other = (Digits(seed).load("test") for seed in (0, 0, 1))
    everything = torch.arange(360)
    assert torch.equal(first.images.take(everything), again.images.take(everything))
    assert not torch.equal(first.images.take(everything), other.images.take(everything))


def test_facts() -> None:
    images = Digits().load("train")
    assert (images.shape, images.name, images.classes) == ((1, 8, 8), "digits", tuple("0123456789"))
    assert images.labels.dtype == torch.int64
