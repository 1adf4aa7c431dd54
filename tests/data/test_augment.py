"""Against plain loops over the images, and against the distributions that the crops and flips must have."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import functional

from toughen.data import Augment, ImageSet
from toughen.errors import InputError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_crop(images: torch.Tensor, padding: int, draws: torch.Generator) -> torch.Tensor:
    return Augment(crop=padding, flip=False)(images, draws)


def random_flip(images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    return Augment(crop=0, flip=True)(images, draws)


def distinct(count: int, channels: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Images whose pixels all differ from each other and from the padding's zero."""
    one = torch.arange(1, channels * height * width + 1).view(1, channels, height, width)
    return one.repeat(count, 1, 1, 1).to(dtype)


def offset_of(cropped: torch.Tensor, image: torch.Tensor, padding: int) -> tuple[int, int]:
    """Which window of the padded image this is, found by trying torchvision's crop at every place."""
    padded = functional.pad(image, [padding])
    height, width = image.shape[-2:]
    places = [(top, left) for top in range(2 * padding + 1) for left in range(2 * padding + 1)]
    found = [place for place in places if torch.equal(functional.crop(padded, *place, height, width), cropped)]
    assert len(found) == 1
    return found[0]


@given(
    st.integers(1, 3),
    st.integers(2, 9),
    st.integers(2, 9),
    st.integers(1, 4),
    st.sampled_from([torch.uint8, torch.float32, torch.bfloat16]),
    st.integers(0, 99),
)
def test_every_crop_is_one_of_torchvisions(
    channels: int, height: int, width: int, padding: int, dtype: torch.dtype, seed: int
) -> None:
    padding = min(padding, height - 1, width - 1)  # so that no window is all padding
    images = distinct(5, channels, height, width)
    images = (images % 251 + 1).to(dtype)
    cropped = random_crop(images, padding, generator(seed))
    assert (cropped.shape, cropped.dtype) == (images.shape, dtype)
    for new, old in zip(cropped, images, strict=True):
        windows = functional.pad(old, [padding]).unfold(1, height, 1).unfold(2, width, 1)
        assert any(
            torch.equal(windows[:, top, left], new) for top in range(2 * padding + 1) for left in range(2 * padding + 1)
        )


def test_offsets_are_uniform_and_independent() -> None:
    images = distinct(3000, 1, 3, 4)
    offsets = [offset_of(new, images[0], 1) for new in random_crop(images, 1, generator())]
    counts = torch.zeros(3, 3)
    for top, left in offsets:
        counts[top, left] += 1
    expected = len(offsets) / 9
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_square < 26.1  # 8 degrees of freedom: exceeded by chance once in 1,000
    same_as_next = sum(a == b for a, b in pairwise(offsets)) / len(offsets)
    assert same_as_next == pytest.approx(1 / 9, abs=4 * math.sqrt(1 / 9 * 8 / 9 / len(offsets)))


def test_flips_mirror_about_half_of_the_images_left_to_right() -> None:
    images = distinct(4000, 2, 3, 5)
    flipped = 0
    for new, old in zip(random_flip(images, generator()), images, strict=True):
        mirrored = torch.equal(new, functional.hflip(old))
        assert mirrored != torch.equal(new, old)
        flipped += mirrored
    assert flipped / 4000 == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 4000))


def test_the_generator_decides(small_set: ImageSet) -> None:
    images = small_set.images.take(torch.arange(80))
    augment = Augment(crop=2)
    assert torch.equal(augment(images, generator(3)), augment(images, generator(3)))
    assert not torch.equal(augment(images, generator(3)), augment(images, generator(4)))


def test_augment_is_the_crop_and_then_the_flip() -> None:
    images = distinct(50, 3, 6, 6, torch.uint8)
    one, other = generator(), generator()
    expected = random_flip(random_crop(images, 2, one), one)
    assert torch.equal(Augment(crop=2, flip=True)(images, other), expected)
    assert torch.equal(one.get_state(), other.get_state())


def test_nothing_to_do_draws_nothing() -> None:
    images, state = distinct(4, 1, 3, 3), generator()
    before = state.get_state()
    assert torch.equal(Augment(crop=0, flip=False)(images, state), images)
    assert torch.equal(state.get_state(), before)


def test_no_images() -> None:
    assert Augment()(torch.empty(0, 3, 8, 8), generator()).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("crop", [-1, 1.5])
def test_settings_out_of_range(crop: Any) -> None:
    with pytest.raises(InputError, match=r"augment\.crop: expected (at least 0|a whole number)"):
        Augment(crop=crop)
