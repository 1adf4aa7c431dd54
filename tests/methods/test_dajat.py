"""DAJAT: the Jensen-Shannon term in plain loops, the branches of the views, and views from the loader."""

import math

import pytest
import torch

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.data import Augment, Digits, Loader
from toughen.data.source import in_unit_range
from toughen.data.views import auto_augmented
from toughen.errors import InputError
from toughen.methods import DAJAT
from toughen.methods.dajat import distance_between_views
from toughen.models import SmallCNN
from toughen.models.split_batchnorm import SplitBatchNorm
from toughen.threat import ThreatModel


def test_jensen_shannon_in_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = [2 * torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
    expected = []
    for rows in zip(*(each.tolist() for each in logits), strict=True):
        p = [[math.exp(v) / sum(math.exp(u) for u in row) for v in row] for row in rows]
        m = [sum(each[k] for each in p) / 3 for k in range(4)]
        expected.append(sum(a * math.log(a / b) for each in p for a, b in zip(each, m, strict=True)) / 3)
    assert distance_between_views(logits).tolist() == pytest.approx(expected)
    assert distance_between_views(logits[:1]).abs().max() < 1e-15
    far = [1e4 * torch.eye(3)[[place]] for place in range(3)]
    assert distance_between_views(far).item() == pytest.approx(math.log(3))


def test_further_views_move_their_own_statistics_and_the_kept_network_is_that_of_the_images() -> None:
    images = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    batch = Batch(images, torch.arange(6) % 5, views=(1 - images,))
    statistics = {}
    for views in (0, 1):
        torch.manual_seed(0)
        method = DAJAT(views=views, attack=GradientAttack(steps=1))
        method.under(ThreatModel("linf", 0.1), torch.Generator().manual_seed(0))
        model = method.prepare(SmallCNN(5, 1, width=4)).train()
        method(model, batch)
        statistics[views] = [value for _, value in method.inference_model(model).named_buffers()]
    assert all(torch.equal(with_view, alone) for with_view, alone in zip(statistics[1], statistics[0], strict=True))
    split = next(layer for layer in model.modules() if isinstance(layer, SplitBatchNorm))
    assert not torch.equal(split.clean.running_mean, split.adversarial.running_mean)
    with pytest.raises(InputError, match="expected 1 further views of each image, got 0"):
        method(model, images, batch.labels)


def test_the_loader_gives_as_many_views_the_same_after_a_resume() -> None:
    images = Digits().load("train")
    generator = torch.Generator().manual_seed(0)
    loader = Loader(images, torch.arange(15), 5, device="cpu", augment=Augment(1, False), generator=generator, views=2)
    state = []
    batches = []
    loader.start(0)
    for batch in loader:
        batches.append(batch)
        state.append(generator.get_state())
    assert all(len(batch.views) == 2 for batch in batches)
    for view in batches[0].views:
        assert view.shape == batches[0].images.shape
        assert view.dtype == torch.float32
        assert 0 <= view.min() <= view.max() <= 1
    assert not torch.equal(batches[0].views[0], batches[0].views[1])
    before = torch.get_rng_state()
    generator.set_state(state[1])
    loader.start(0, 2)
    again = next(iter(loader))
    for ours, theirs in zip((again.images, *again.views), (batches[2].images, *batches[2].views), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(torch.get_rng_state(), before)


def test_views_of_colour_images_are_drawn_image_by_image() -> None:
    image = torch.randint(256, (1, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    views = auto_augmented(image.expand(16, -1, -1, -1), None, torch.Generator().manual_seed(0))
    assert views.dtype == torch.uint8
    assert len({tuple(view.flatten().tolist()) for view in views}) > 5
    assert in_unit_range(views).max() <= 1
