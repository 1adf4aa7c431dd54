"""Where a figure is doubted, attacks without gradients follow, and the lower figure is the result."""

import numpy as np
import pytest
import torch
import zoo
from torch import nn

from toughen.attacks import PGD
from toughen.data import ImageSet
from toughen.evaluation import evaluate_model
from toughen.evaluation.attacks.estimated import Estimated
from toughen.evaluation.attacks.further import FURTHER
from toughen.threat import ThreatModel

THREAT = ThreatModel("linf", 0.1)


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
@pytest.mark.parametrize("defence", [zoo.OtherGradient, zoo.NoisyBackward])
def test_the_lower_figure_is_reported(network, images: ImageSet, defence: type[nn.Module]):
    """The defences answer as the network does, so what PGD leaves of the network is the truth to come near to."""
    n = 40
    evaluation = evaluate_model(
        defence(network), images, THREAT, budget="quick", test_images=n, sample="first", device="cpu"
    )
    result, verdicts = evaluation.result, evaluation.verdicts
    pictures, labels = images.subset(torch.arange(n))
    attack = PGD(20, restarts=5, keep_best=True, loss="margin")
    shown = attack(network, pictures, labels, THREAT, torch.Generator().manual_seed(0))
    truth = float((network(shown).argmax(1) == labels).float().mean())
    misled, reported = result["figures"]["pgd20_margin"]["accuracy"], result["robust_accuracy"]["accuracy"]
    assert truth <= reported <= truth + 0.2 < misled
    assert result["further"] == list(FURTHER) == list(verdicts.attacks[2:])
    held = np.logical_and.reduce([verdicts.held(name) for name in ("clean", *verdicts.attacks)])
    assert reported == held.mean() == result["figures"][FURTHER[-1]]["accuracy"]
    assert "black_box_never_wins" in result["masking_suspected"]


def test_a_figure_that_is_not_doubted_stays(network, images: ImageSet):
    result = evaluate_model(network, images, THREAT, budget="quick", test_images=20, device="cpu").result
    assert "further" not in result
    assert list(result["figures"]) == ["clean", "fgsm", "pgd20_margin"]


def test_an_estimate_is_the_gradient_on_average(batch):
    """Of a linear network, whose gradient is its weights."""
    images = batch[0][:1].double() * 0.5 + 0.25
    layer = nn.Linear(64, 1, dtype=torch.float64).requires_grad_(False)
    estimated = Estimated(nn.Sequential(nn.Flatten(), layer), directions=4_000, step=0.01)
    x = images.requires_grad_()
    (gradient,) = torch.autograd.grad(estimated(x).sum(), x)
    exact = layer.weight.view_as(gradient)
    # A component's variance is the square of all the others, over the number of directions.
    assert float((gradient - exact).norm() / exact.norm()) < 1.5 * (63 / 4_000) ** 0.5
