"""Time: what is expected, and the moment to stop."""

from time import monotonic, sleep

import pytest
import torch
from torch import nn

from toughen.evaluation.progress import Pace
from toughen.models.deadline import Deadline, TimeUp


def test_the_rest_is_expected_to_take_what_the_finished_took():
    pace = Pace(["a", "b"])
    pace.took("a", images=10, seconds=2.0)
    assert pace.left({"a": 5, "b": 1}) is None
    assert pace.left({"a": 5, "b": 0}) == 1.0
    pace.took("a", images=10, seconds=4.0)
    pace.took("b", images=4, seconds=8.0)
    assert pace.left({"a": 100, "b": 10}) == pytest.approx(100 * 6 / 20 + 10 * 2)


def test_without_a_limit_nothing_is_watched():
    model = nn.Flatten()
    deadline = Deadline(None)
    assert deadline.watching(model) is model
    deadline.check()


def test_a_pass_after_the_deadline_raises():
    model = nn.Flatten()
    watched = Deadline(60).watching(model)
    images = torch.rand(2, 1, 2, 2)
    assert torch.equal(watched(images), model(images))
    late = Deadline(0.02)
    watched = late.watching(model)
    started = monotonic()
    with pytest.raises(TimeUp):
        while monotonic() < started + 5:
            watched(images)
            sleep(0.005)
    assert monotonic() < started + 1
    with pytest.raises(TimeUp):
        late.check()
