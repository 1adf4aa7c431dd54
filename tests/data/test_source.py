import numpy as np
import pytest
import torch

from toughen.data import Decoded, ImageSet
from toughen.errors import InputError


def test_subset_is_float_in_zero_one(small_set: ImageSet, scans: np.ndarray, digits: np.ndarray) -> None:
    wanted = torch.tensor([5, 2, 70])
    images, labels = small_set.subset(wanted)
    np.testing.assert_allclose(images[:, 0], scans[[5, 2, 70]] / 255, rtol=1e-6)
    np.testing.assert_array_equal(labels, digits[[5, 2, 70]])


def test_channel_statistics(photo: np.ndarray) -> None:
    pixels = torch.from_numpy(photo.transpose(2, 0, 1)[None].copy())
    images = ImageSet(Decoded(pixels), torch.tensor([0]), ("flower",), "photo")
    mean, std = images.channel_statistics()
    np.testing.assert_allclose(mean, photo.reshape(-1, 3).mean(0) / 255)
    np.testing.assert_allclose(std, photo.reshape(-1, 3).std(0, ddof=1) / 255)


def test_statistics_of_a_sample_are_near_those_of_all(small_set: ImageSet) -> None:
    (mean,), (std,) = small_set.channel_statistics(sample=40)
    (all_mean,), (all_std,) = small_set.channel_statistics()
    assert mean == pytest.approx(all_mean, rel=0.05)
    assert std == pytest.approx(all_std, rel=0.05)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_does_not_become_a_class(label: int) -> None:
    labels = torch.tensor([0, 2, label])
    images = ImageSet(Decoded(torch.zeros(3, 1, 4, 4, dtype=torch.uint8)), labels, ("cat", "dog", "eel"), "pets")
    with pytest.raises(InputError, match=rf"labels of pets: expected values in 0 \.\. 2, got {label} \(1 of 3"):
        images.in_order_of(("dog", "cat", "eel"), "the model")
