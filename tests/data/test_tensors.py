"""Images and labels that are at hand become an image set, or say why they cannot."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from toughen.data.tensors import image_set
from toughen.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
EXACT = torch.rand(7, 3, 4, 4, generator=GENERATOR)
WHOLE = torch.randint(256, (7, 3, 4, 4), generator=GENERATOR).to(torch.uint8)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0])
ALL = torch.arange(7)


@pytest.mark.parametrize("images", [EXACT, WHOLE / 255], ids=["any float", "from 8 bits"])
@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: (x, y),
        lambda x, y: (x.numpy(), y.tolist()),
        lambda x, y: (DataLoader(TensorDataset(x, y), batch_size=3),),
        lambda x, y: (TensorDataset(x, y),),
        lambda x, y: ([(x[:2], y[:2]), (x[2:], y[2:])],),
        lambda x, y: (((each, int(label)) for each, label in zip(x, y, strict=True)),),
    ],
    ids=["tensors", "numpy", "loader", "data set", "list of batches", "generator of single images"],
)
def test_every_form_gives_the_images_exactly(images, form):
    found = image_set(*form(images, LABELS))
    x, y = found.subset(ALL)
    assert torch.equal(x, images)
    assert torch.equal(y, LABELS)
    assert found.classes == ("0", "1", "2")


def test_bytes_are_parts_of_255():
    assert torch.equal(image_set(WHOLE, LABELS).subset(ALL)[0], WHOLE.float() / 255)
    assert torch.equal(image_set(WHOLE.numpy().astype(np.uint8), LABELS).subset(ALL)[0], WHOLE.float() / 255)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EXACT,), r"labels: expected \(N,\), got none; give evaluate\(model, images, labels\)"),
        ((EXACT * 255, LABELS), r"images: expected values in \[0, 1\], got .*; divide them by 255"),
        ((EXACT - 0.5, LABELS), r"images: expected values in \[0, 1\], got -.*; normalise inside the model"),
        ((EXACT * float("nan"), LABELS), r"images: expected values in \[0, 1\], got nan"),
        ((EXACT[0], LABELS), r"images: expected N x C x H x W, got shape \(3, 4, 4\)"),
        ((WHOLE.long(), LABELS), r"images: expected floats in \[0, 1\] or uint8 in 0 .. 255, got torch.int64"),
        ((EXACT, LABELS[:5]), "labels: expected one for each of 7 images, got 5"),
        ((EXACT, LABELS.float()), r"labels: expected whole numbers, \(N,\), got torch.float32"),
        ((EXACT, LABELS - 1), r"labels: expected values in 0 .. 1, got -1 .. 1"),
        (([],), "got none; the loader is empty"),
        (([{"image": EXACT}],), r"images: expected pairs \(images, labels\), got dict"),
        (([(EXACT, LABELS), (EXACT[..., :3], LABELS)],), r"images: expected one size, got 3 x 4 x 4 and 3 x 4 x 3"),
        (([(object(), 1)],), "images: expected a tensor or an array, got object"),
    ],
)
def test_what_is_no_image_set_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        image_set(*arguments)
