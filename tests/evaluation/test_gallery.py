"""Which images are shown, from outcomes that are known beforehand."""

import torch

from toughen.batch import Batch
from toughen.evaluation.gallery import candidates, gallery
from toughen.evaluation.verify import Clean, Outcome


def clean(n: int, right: list[bool] | None = None) -> Clean:
    labels = torch.zeros(n, dtype=torch.int64)
    predictions = labels.clone() if right is None else (~torch.tensor(right)).long()
    images = torch.arange(n).view(n, 1, 1, 1) / 100.0
    return Clean(Batch(images, labels, torch.arange(n)), predictions, torch.full((n,), 0.75))


def outcome(of: Clean, held: list[bool], confidences: list[float], moved: list[bool] | None = None) -> Outcome:
    n = len(held)
    norm = torch.full((n,), 0.5) if moved is None else torch.tensor(moved).float() / 2
    adversarial = of.batch.images + norm.view(n, 1, 1, 1)
    predictions = (~torch.tensor(held)).long()
    every = torch.ones(n, dtype=torch.bool)
    return Outcome(
        every, torch.tensor(held), norm, None, adversarial, predictions, torch.tensor(confidences), 0, 1.0, ()
    )


def places(shown: dict[str, torch.Tensor]) -> list[int]:
    return [round(float(image) * 100) for image in shown["clean"]]


def test_worst_typical_and_held():
    batch = clean(20)
    held = [False] * 12 + [True] * 8
    confidences = [i / 20 for i in range(20)]
    shown = gallery([[candidates(0, batch, outcome(batch, held, confidences))]], [torch.tensor(held).numpy()])
    # The worst by confidence, the first ones, the first ones that held.
    assert places(shown) == [11, 10, 9, 8, 0, 1, 2, 3, 12, 13, 14, 15]
    assert shown["kinds"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert shown["adversarial_confidences"].tolist()[:2] == torch.tensor([0.55, 0.5]).tolist()
    assert torch.allclose(shown["adversarial"] - shown["clean"], torch.tensor(0.5))
    assert shown["labels"].tolist() == [0] * 12
    assert shown["adversarial_predictions"].tolist() == [1] * 8 + [0] * 4


def test_the_last_attack_that_broke_an_image_is_shown():
    batch = clean(3)
    first = outcome(batch, [False, True, True], [0.5] * 3)
    second = outcome(batch, [False, False, True], [0.9] * 3)
    third = outcome(batch, [True, True, True], [0.4] * 3, moved=[True, True, False])
    units = [candidates(0, batch, each) for each in (first, second, third)]
    shown = gallery([units], [torch.tensor([False, False, True]).numpy()])
    assert places(shown) == [0, 1, 2]
    assert shown["adversarial_confidences"].tolist() == torch.tensor([0.9, 0.9, 0.9]).tolist()
    assert shown["kinds"].tolist() == [0, 0, 2]


def test_an_image_that_was_broken_out_of_sight_is_not_shown_as_held():
    """Eight images are broken by the second attack, which has room for the first four; the first attack moved all."""
    batch = clean(8)
    first = candidates(0, batch, outcome(batch, [True] * 8, [0.5] * 8))
    second = candidates(0, batch, outcome(batch, [False] * 8, [0.5] * 8))
    shown = gallery([[first, second]], [torch.zeros(8, dtype=torch.bool).numpy()])
    assert places(shown) == [0, 1, 2, 3]
    assert (shown["kinds"] < 2).all()


def test_images_that_were_wrong_already_or_not_moved_are_not_shown():
    batch = clean(4, right=[True, False, True, True])
    units = candidates(0, batch, outcome(batch, [True, False, True, False], [0.5] * 4, [True, True, False, True]))
    assert units["rows"].tolist() == [0, 3]


def test_late_batches_and_empty_ones_give_none():
    batch = clean(4)
    assert candidates(256, batch, outcome(batch, [False] * 4, [0.5] * 4)) == {}
    assert candidates(0, batch, outcome(batch, [True] * 4, [0.5] * 4, [False] * 4)) == {}
    assert gallery([[{}]], [torch.zeros(4, dtype=torch.bool).numpy()]) == {}


def test_several_batches_come_in_order():
    batch = clean(2)
    unit = candidates(0, batch, outcome(batch, [False, False], [0.5, 0.5]))
    shown = gallery([[unit]] * 8, [torch.zeros(2, dtype=torch.bool).numpy()] * 8)
    assert places(shown) == [0, 1] * 6
    assert len(shown["kinds"]) == 12
