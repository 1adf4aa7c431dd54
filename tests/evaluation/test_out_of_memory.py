"""A batch under attack that does not fit into memory: the same verdicts, the model asked in parts."""

import pytest
from torch import Tensor, nn

from toughen.data import ImageSet
from toughen.errors import RunError, ToughenWarning
from toughen.evaluation.plan import prepare
from toughen.evaluation.result import Evaluation
from toughen.evaluation.runner import Runner
from toughen.threat import ThreatModel

pytestmark = pytest.mark.usefixtures("short_self_checks")

THREAT = ThreatModel("linf", 0.08)
SETTINGS = {"budget": "quick", "test_images": 20, "sample": "first", "batch_size": 10, "device": "cpu"}


class Room(nn.Module):
    """A model of which no more than so many images fit at once; then torch says what it says on a CPU."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.most = network, [1000]

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.most[0]:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory")
        return self.network(images)


def evaluated(network: nn.Module, images: ImageSet, most: int) -> Evaluation:
    model = Room(network)
    plan = prepare(model, images, THREAT, **SETTINGS)
    model.most[0] = plan.fresh.most[0] = most  # the first looks at the model are of a few images
    return Runner(plan).carry_out().summary()


def test_verdicts_are_those_of_whole_batches(network: nn.Module, images: ImageSet) -> None:
    whole = evaluated(network, images, 1000)
    with pytest.warns(ToughenWarning, match="asked for parts") as said:
        found = evaluated(network, images, 2)
    assert len(said) == 1
    ours, others = found.verdicts.table, whole.verdicts.table
    exact = [name for name in ours.column_names if not name.endswith(("_norm", "_confidence"))]
    assert ours.select(exact).equals(others.select(exact))
    for name in set(ours.column_names) - set(exact):
        assert ours[name].to_pylist() == pytest.approx(others[name].to_pylist(), abs=1e-4), name
    outcomes = [[(check["name"], check["passed"]) for check in each.result["checks"]] for each in (found, whole)]
    assert outcomes[0] == outcomes[1]


def test_where_not_one_image_fits_it_is_a_sentence(network: nn.Module, images: ImageSet) -> None:
    with pytest.warns(ToughenWarning), pytest.raises(RunError, match=r"does not suffice for 10 .* --batch_size 5"):
        evaluated(network, images, 0)


class OfTheBatch(nn.Module):
    """A model that compares an image with the others of its batch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images - images.mean(0))


def test_a_model_that_looks_at_the_batch_is_not_asked_in_parts(network: nn.Module, images: ImageSet) -> None:
    with pytest.warns(ToughenWarning), pytest.raises(RunError, match="depends on the others"):
        evaluated(OfTheBatch(network), images, 2)
