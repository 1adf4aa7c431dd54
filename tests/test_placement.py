"""Against torchvision's crop and mirror image, pixel by pixel, and undone again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import functional

from toughen.placement import Placement

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(2, 7), st.integers(2, 7))


@st.composite
def placed(draw: st.DrawFn) -> tuple[torch.Tensor, Placement]:
    """Images whose pixels all differ and are not black, and a placement of them."""
    shape = draw(SHAPES)
    reach = draw(st.integers(0, 9))
    offsets = st.lists(st.integers(-reach, reach), min_size=shape[0], max_size=shape[0])
    flips = draw(st.lists(st.booleans(), min_size=shape[0], max_size=shape[0]))
    dtype = draw(st.sampled_from([torch.float16, torch.float32, torch.int64]))
    images = torch.arange(1, 1 + torch.Size(shape).numel()).view(shape).to(dtype)
    placement = Placement(torch.tensor(draw(offsets)), torch.tensor(draw(offsets)), torch.tensor(flips), reach)
    return images, placement


@given(placed())
def test_apply_is_torchvisions_crop_and_mirror_image(case: tuple[torch.Tensor, Placement]) -> None:
    images, placement = case
    _, _, height, width = images.shape
    moved = placement.apply(images)
    assert (moved.shape, moved.dtype) == (images.shape, images.dtype)
    for n, image in enumerate(images):
        reach, dy, dx = placement.reach, int(placement.dy[n]), int(placement.dx[n])
        expected = functional.crop(functional.pad(image, [reach]), reach + dy, reach + dx, height, width)
        assert torch.equal(moved[n], functional.hflip(expected) if placement.flipped[n] else expected)


@given(placed())
def test_undo_restores_what_was_visible_and_leaves_the_rest(case: tuple[torch.Tensor, Placement]) -> None:
    images, placement = case
    moved = placement.apply(images)
    assert torch.equal(placement.undo(moved, like=images), images)
    elsewhere = -images  # no pixel of it is a pixel of the images
    restored = placement.undo(moved, like=elsewhere)
    for n, image in enumerate(images):
        visible = torch.isin(image, moved[n])
        assert torch.equal(restored[n], torch.where(visible, image, elsewhere[n]))


@given(placed())
def test_what_undo_gives_is_seen_again_under_the_same_placement(
    case: tuple[torch.Tensor, Placement],
) -> None:
    images, placement = case
    seen = placement.apply(torch.ones_like(images)) == 1  # not padding
    written = 1000 + images
    again = placement.apply(placement.undo(written, like=images))
    assert torch.equal(again, torch.where(seen, written, torch.zeros_like(images)))


def test_no_images() -> None:
    none = Placement(*torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool), reach=2)
    images = torch.empty(0, 3, 4, 4)
    assert len(none) == 0
    assert none.undo(none.apply(images), like=images).shape == images.shape


def test_it_moves_between_devices_as_a_whole() -> None:
    placement = Placement(torch.tensor([1]), torch.tensor([-1]), torch.tensor([True]), reach=1)
    moved = placement.to("meta")
    assert {tensor.device.type for tensor in (moved.dy, moved.dx, moved.flipped)} == {"meta"}
    assert moved.reach == 1
    assert placement.to("cpu").dx.item() == pytest.approx(-1)
