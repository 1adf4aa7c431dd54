import pytest
import torch
from torch import Tensor

from toughen.batch import Batch
from toughen.contracts import check_images
from toughen.errors import InputError
from toughen.placement import Placement


def batch(images: Tensor | None = None, labels: Tensor | None = None) -> Batch:
    return Batch(
        torch.linspace(0, 1, 24).view(2, 3, 2, 2) if images is None else images,
        torch.tensor([0, 2]) if labels is None else labels,
    )


def test_allowed() -> None:
    batch().check(num_classes=3)
    batch(labels=torch.tensor([0, 0])).check(num_classes=1)
    assert len(batch()) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_will_do(dtype: torch.dtype) -> None:
    batch(torch.rand(2, 1, 2, 2).to(dtype)).check(num_classes=3)


def test_no_image_is_allowed() -> None:
    empty = Batch(torch.zeros(0, 3, 2, 2), torch.zeros(0, dtype=torch.int64))
    empty.check(num_classes=3)
    assert len(empty) == 0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            torch.zeros(2, 3, 2, 2, dtype=torch.uint8),
            "images: expected a floating-point tensor in [0, 1], got torch.uint8; use images.float() / 255",
        ),
        (
            torch.zeros(3, 2, 2),
            "images: expected N x C x H x W, got shape (3, 2, 2); use images[None] for a single image",
        ),
        (torch.zeros(2, 12), "images: expected N x C x H x W, got shape (2, 12)"),
        (
            torch.full((2, 3, 2, 2), 255.0),
            "images: expected values in [0, 1], got [255, 255]; divide by 255",
        ),
        (
            torch.linspace(-2.1, 2.6, 24).view(2, 3, 2, 2),
            "images: expected values in [0, 1], got [-2.1, 2.6]; undo the normalisation: "
            "it is a layer of the model here",
        ),
    ],
    ids=["uint8", "one-image", "flat", "0..255", "normalised"],
)
def test_images_that_do_not_fit(images: Tensor, message: str) -> None:
    for check in (lambda: check_images(images), lambda: batch(images).check(num_classes=3)):
        with pytest.raises(InputError) as caught:
            check()
        assert str(caught.value) == message


@pytest.mark.parametrize("value", [1 + 1e-6, -1e-6, float("nan"), float("inf")])
def test_one_pixel_out_of_range_is_enough(value: float) -> None:
    images = torch.full((2, 3, 2, 2), 0.5)
    images[1, 2, 1, 0] = value
    with pytest.raises(InputError, match=r"images: expected values in \[0, 1\], got \["):
        check_images(images)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            torch.tensor([0, 1], dtype=torch.int32),
            "labels: expected int64 of shape (2,), got torch.int32 of shape (2,); use labels.long()",
        ),
        (torch.tensor([0.0, 1.0]), "labels: expected int64 of shape (2,), got torch.float32 of shape (2,)"),
        (torch.tensor([0, 1, 2]), "labels: expected int64 of shape (2,), got torch.int64 of shape (3,)"),
        (
            torch.tensor([[0], [1]]),
            "labels: expected int64 of shape (2,), got torch.int64 of shape (2, 1); use labels.squeeze(1)",
        ),
        (torch.tensor([0, 3]), "labels: expected values in 0 .. 2 for 3 classes, got 0 .. 3"),
        (torch.tensor([-1, 2]), "labels: expected values in 0 .. 2 for 3 classes, got -1 .. 2"),
    ],
    ids=["int32", "float", "three", "2-d", "too-large", "negative"],
)
def test_labels_that_do_not_fit(labels: Tensor, message: str) -> None:
    with pytest.raises(InputError) as caught:
        batch(labels=labels).check(num_classes=3)
    assert str(caught.value) == message


@pytest.mark.parametrize("indices", [None, torch.tensor([7, 3])])
@pytest.mark.parametrize("soft", [None, torch.full((2, 2), 0.5)])
def test_all_parts_go_to_the_device(indices: Tensor | None, soft: Tensor | None) -> None:
    given = Batch(torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), indices, soft)
    moved = given.to("meta")
    assert moved.images.is_meta
    assert moved.labels.is_meta
    for before, after in ((given.indices, moved.indices), (given.soft, moved.soft)):
        assert (after is None) if before is None else (after is not None and after.is_meta)


def test_placement_goes_to_the_device() -> None:
    placement = Placement(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([True, False]), reach=1)
    moved = Batch(torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), placement=placement).to("meta").placement
    assert moved is not None
    assert moved.dy.is_meta
    assert moved.reach == 1


def test_target_is_the_soft_labels_where_there_are_any() -> None:
    hard, soft = torch.tensor([0, 2]), torch.tensor([[0.9, 0.05, 0.05], [0.1, 0.1, 0.8]])
    assert batch(labels=hard).target is hard
    assert Batch(batch().images, hard, soft=soft).target is soft


def test_soft_labels_of_another_shape() -> None:
    images, labels = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
    Batch(images, labels, soft=torch.full((2, 3), 1 / 3)).check(num_classes=3)
    with pytest.raises(InputError, match=r"soft labels: .* shape \(2, 3\), got \(2, 4\)"):
        Batch(images, labels, soft=torch.full((2, 4), 1 / 4)).check(num_classes=3)
