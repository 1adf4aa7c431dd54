import math

import numpy as np
import pytest
import torch
from scipy import stats

from toughen.batch import Batch
from toughen.data import CutMix, soften
from toughen.data.mixing import draw_share, smooth
from toughen.errors import InputError
from toughen.losses import cross_entropy

CLASSES = 5


def batch_of(n: int = 6, height: int = 7, width: int = 10, seed: int = 0) -> Batch:
    """Images whose pixels say which image they are of: i + a noise below 1, over n."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(n, 2, height, width, generator=generator)
    images = (torch.arange(n).view(-1, 1, 1, 1) + 0.9 * noise) / n
    return Batch(images, torch.randint(CLASSES, (n,), generator=generator), 100 + torch.arange(n))


def test_smoothed_targets_are_the_plain_formula() -> None:
    batch = smooth(batch_of(), CLASSES, 0.3)
    for row, label in zip(batch.target.tolist(), batch.labels.tolist(), strict=True):
        for k in range(CLASSES):
            assert row[k] == pytest.approx(0.7 * (k == label) + 0.3 / CLASSES)


def test_the_loss_of_smoothed_targets_is_torchs_label_smoothing() -> None:
    batch = batch_of()
    logits = torch.randn(len(batch), CLASSES, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.cross_entropy(logits, batch.labels, label_smoothing=0.3, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, smooth(batch, CLASSES, 0.3).target), expected)


@pytest.mark.parametrize("seed", range(8))
def test_a_mixed_batch_pixel_by_pixel(seed: int) -> None:
    batch, n = batch_of(seed=seed), 6
    mixed = CutMix(probability=1.0)(batch, CLASSES, torch.Generator().manual_seed(seed))
    owner = (mixed.images * n).floor().long()
    assert torch.equal(mixed.images, torch.gather(batch.images, 0, owner))  # every pixel stays in its place
    partners, boxes = set(), set()
    for i in range(n):
        foreign = owner[i, 0] != i
        assert torch.equal(owner[i, 0], owner[i, 1])  # the same box in every channel
        boxes.add(tuple(map(tuple, foreign.nonzero().tolist())))
        j = int(owner[i, 0][foreign][0]) if foreign.any() else i
        assert set(owner[i].unique().tolist()) <= {i, j}
        partners.add(j)
        # The box as large as it is anywhere: where an image met itself, nothing shows.
        box = (owner != torch.arange(n).view(-1, 1, 1, 1)).any(0)[0]
        left = 1 - box.sum().item() / box.numel()
        label, other = int(batch.labels[i]), int(batch.labels[j])
        for k in range(CLASSES):
            expected = left * (k == label) + (1 - left) * (k == other)
            assert mixed.target[i, k].item() == pytest.approx(expected, abs=1e-6)
        assert int(mixed.labels[i]) == (label if left >= 0.5 else other)
    assert partners == set(range(n))  # a permutation
    assert len(boxes - {()}) <= 1
    assert torch.equal(mixed.indices, batch.indices)
    assert torch.equal(batch.images, batch_of(seed=seed).images)  # the given batch is left alone


def test_boxes_are_those_of_the_published_code() -> None:
    def published(height: int, width: int, share: float, cy: int, cx: int) -> list[int]:
        ratio = math.sqrt(1.0 - share)
        cut_h, cut_w = int(height * ratio), int(width * ratio)
        return (
            np.clip([cy - cut_h // 2, cy + cut_h // 2], 0, height).tolist()
            + np.clip([cx - cut_w // 2, cx + cut_w // 2], 0, width).tolist()
        )

    for seed in range(50):
        rows, columns = CutMix(alpha=1.0).box(32, 24, torch.Generator().manual_seed(seed))
        draws = torch.Generator().manual_seed(seed)
        share = torch.rand((), generator=draws, dtype=torch.float64).item()  # Beta(1, 1) is uniform
        cy, cx = torch.randint(32, (), generator=draws).item(), torch.randint(24, (), generator=draws).item()
        assert [rows.start, rows.stop, columns.start, columns.stop] == published(32, 24, share, cy, cx)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shares = [draw_share(alpha, generator) for _ in range(2000)]
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_how_often_batches_are_mixed() -> None:
    generator, batch = torch.Generator().manual_seed(0), batch_of()
    mixed = sum(CutMix(probability=0.3)(batch, CLASSES, generator).soft is not None for _ in range(1000))
    assert stats.binomtest(mixed, 1000, 0.3).pvalue > 0.01


def test_both_together_are_cutmix_smoothed() -> None:
    batch = batch_of()
    mixed = CutMix(probability=1.0)(batch, CLASSES, torch.Generator().manual_seed(2))
    both = soften(batch, CLASSES, 0.1, CutMix(probability=1.0), torch.Generator().manual_seed(2))
    assert torch.equal(both.images, mixed.images)
    torch.testing.assert_close(both.target, 0.9 * mixed.target + 0.1 / CLASSES)
    torch.testing.assert_close(both.target.sum(1), torch.ones(len(batch)))


def test_nothing_asked_nothing_done() -> None:
    batch, generator = batch_of(), torch.Generator().manual_seed(0)
    state = generator.get_state()
    assert soften(batch, CLASSES, 0.0, None, generator) is batch
    assert torch.equal(generator.get_state(), state)


def test_one_image_and_the_global_generator_stay_as_they_are() -> None:
    state = torch.get_rng_state()
    batch = batch_of(1)
    mixed = CutMix(probability=1.0)(batch, CLASSES, torch.Generator().manual_seed(0))
    assert torch.equal(mixed.images, batch.images)
    assert torch.equal(mixed.target, torch.nn.functional.one_hot(batch.labels, CLASSES).float())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0}, r"cutmix\.alpha: expected a number above 0 such as 1, got 0"),
        ({"alpha": math.nan}, r"cutmix\.alpha"),
        ({"probability": 0}, r"cutmix\.probability: expected a number above 0 and at most 1, got 0"),
        ({"probability": 1.5}, r"cutmix\.probability"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CutMix(**settings)
