"""Explanations of networks whose answer is known."""

import math

import pytest
import torch
from torch import Tensor, nn

from toughen.analysis import (
    BlackBox,
    Distillation,
    Explained,
    Features,
    GradientConflict,
    HardImages,
    LossSurface,
    MixtureDistribution,
    OutputDistributions,
    RiskBound,
    Training,
)
from toughen.analysis.conflict import gradients_in_training
from toughen.analysis.explanation import resampled
from toughen.analysis.measures.outputs import calibration_error
from toughen.analysis.together import Explanations, in_common
from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.losses import cross_entropy
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.models import SmallCNN
from toughen.models.split_batchnorm import branch, split_batch_norms
from toughen.threat import ThreatModel

EPS = 0.1


def explained(model: nn.Module, training: Training | None = None, classes: int = 2, n: int = 60) -> Explained:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n, 1, 4, 4, generator=generator)
    labels = torch.arange(n) % classes
    threat = ThreatModel("linf", EPS)
    model = model.eval().requires_grad_(False)
    perturbed = PGD(steps=5)(model, images, labels, threat, generator)
    return Explained(
        "one", model, images, perturbed, labels, [str(k) for k in range(classes)], threat, training=training
    )


def linear(classes: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, classes))


class Pulling(Method):
    """Two terms of a linear network's weights whose gradients have a known angle."""

    def __init__(self, angle: float) -> None:
        super().__init__()
        self.angle = angle

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        return Perturbed(batch.images)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        weight = model[1].weight
        return {
            "first": Term(weight[0, 0], 2.0),
            "second": Term(math.cos(self.angle) * weight[0, 0] + math.sin(self.angle) * weight[1, 3], 5.0),
            "constant": Term(torch.zeros(len(batch.images))),
        }


@pytest.mark.parametrize("degrees", [0, 60, 90, 120, 180])
def test_terms_at_a_known_angle(degrees: int):
    network = linear()
    one = explained(linear())
    batches = [Batch(one.images[:8], one.labels[:8])] * 3
    training = Training(network, Pulling(math.radians(degrees)), batches)
    insight = GradientConflict().explain(Explained(**{**vars(one), "training": training}))
    assert insight is not None
    assert insight.figures.keys() == {"cosine/first, second", "conflicting/first, second"}
    assert insight.figures["cosine/first, second"].value == pytest.approx(math.cos(math.radians(degrees)), abs=1e-6)
    assert insight.figures["conflicting/first, second"].value == (degrees > 90)


class Supervised(Pulling):
    """One term, of the network as it trains."""

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        return {"ce": Term(cross_entropy(model(batch.images), batch.target), 3.0)}


def test_gradients_are_of_the_network_as_it_trains_and_leave_it_so() -> None:
    """BatchNorm uses the batch's statistics, and keeps its own."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 2)).eval()
    one = explained(linear())
    batch = Batch(one.images, one.labels)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    found = gradients_in_training(Training(network, Supervised(0.0), [batch]), batch)["ce"]
    assert not network.training
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())
    normalised = (one.images - one.images.mean()) / (one.images.var(correction=0) + 1e-5).sqrt()
    logits = network[2](network[1](normalised))
    weight = network[2].weight
    (expected,) = torch.autograd.grad(3 * nn.functional.cross_entropy(logits, one.labels), weight)
    torch.testing.assert_close(found["2.weight"], expected, rtol=1e-4, atol=1e-6)


def test_without_a_method_there_is_no_conflict_to_see():
    assert GradientConflict().explain(explained(linear())) is None
    assert Distillation().explain(explained(linear())) is None


def shifted(network: nn.Module, by: float) -> tuple[Tensor, Tensor]:
    """Images of mean 0 and deviation 1, and the same moved by so many deviations."""
    images = torch.randn(200, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    images = (images - images.mean()) / images.std(correction=0)
    return images, images + by


def test_layers_see_images_as_far_apart_as_they_were_moved():
    layer = nn.BatchNorm2d(1)
    network = nn.Sequential(layer, nn.Flatten(), nn.Linear(16, 2))
    clean, moved = shifted(network, 3.0)
    layer.running_mean, layer.running_var = torch.tensor([1.5]), torch.tensor([1.0])
    one = explained(network)
    insight = MixtureDistribution().explain(
        Explained(**{**vars(one), "images": clean, "perturbed": moved, "labels": torch.zeros(200).long()})
    )
    assert insight is not None
    figures = {name: each.value for name, each in insight.figures.items()}
    assert figures == pytest.approx(
        {"clean_to_adversarial": 3.0, "clean_to_held": 1.5, "adversarial_to_held": 1.5}, rel=1e-4
    )


def test_a_split_layer_holds_what_each_side_is():
    network = split_batch_norms(nn.Sequential(nn.BatchNorm2d(1, momentum=1.0), nn.Flatten(), nn.Linear(16, 2)))
    clean, moved = shifted(network, 3.0)
    network.train()
    with branch(network, "clean"):
        network(clean)
    with branch(network, "adversarial"):
        network(moved)
    one = explained(linear())
    training = Training(network, Pulling(0.0), [])
    given = {"images": clean, "perturbed": moved, "labels": torch.zeros(200).long(), "training": training}
    insight = MixtureDistribution().explain(Explained(**{**vars(one), **given}))
    assert insight is not None
    assert insight.figures["clean_to_adversarial"].value == pytest.approx(3.0, rel=1e-3)
    assert insight.figures["clean_to_held"].value == pytest.approx(0.0, abs=1e-2)
    assert insight.figures["adversarial_to_held"].value == pytest.approx(0.0, abs=1e-2)
    assert network.training  # as it was


def test_each_side_goes_through_its_own_branch() -> None:
    """The second layer sees what the first one's branch has normalised: alike through their own, apart through one."""
    network = split_batch_norms(nn.Sequential(nn.BatchNorm2d(1, momentum=1.0), nn.BatchNorm2d(1), nn.Flatten()))
    clean, moved = shifted(network, 3.0)
    network.train()
    for side, images in (("clean", clean), ("adversarial", moved)):
        with branch(network, side):
            network(images)
    given = {"images": clean, "perturbed": moved, "labels": torch.zeros(200).long()}
    insight = MixtureDistribution().explain(
        Explained(**{**vars(explained(linear())), **given, "training": Training(network, Pulling(0.0), [])})
    )
    assert insight is not None
    assert insight.arrays["clean_to_adversarial"] == pytest.approx([3.0, 0.0], abs=1e-2)


def test_the_surface_of_a_linear_network_is_that_of_its_softmax():
    one = explained(linear(), n=20)
    insight = LossSurface(images=20, points=5, iterations=100).explain(one)
    assert insight is not None
    weight, bias = (each.detach() for each in one.model[1].parameters())
    w = weight[1] - weight[0]
    p = torch.sigmoid(one.images.flatten(1) @ w + bias[1] - bias[0])
    expected = p * (1 - p) * w.square().sum()
    assert insight.figures["curvature"].value == pytest.approx(float(expected.mean()), rel=1e-3)
    middle = torch.tensor(insight.pictures[0].data["values"])[2, 2]
    assert float(middle) == pytest.approx(float(cross_entropy(one.model(one.images), one.labels).mean()), rel=1e-5)


def test_figures_of_outputs_are_means_of_their_columns():
    one = explained(linear())
    insight = OutputDistributions().explain(one)
    assert insight is not None
    clean, adversarial = one.model(one.images), one.model(one.perturbed)
    expected = nn.functional.kl_div(
        adversarial.log_softmax(1), clean.log_softmax(1), log_target=True, reduction="batchmean"
    )
    assert insight.figures["kl_clean_adversarial"].value == pytest.approx(float(expected), rel=1e-4)
    assert insight.figures["kl_label_clean"].value == pytest.approx(
        float(nn.functional.cross_entropy(clean, one.labels)), rel=1e-5
    )


def test_a_network_that_gives_all_classes_alike_is_bounded_by_chance():
    network = linear()
    with torch.no_grad():
        for each in network.parameters():
            each.zero_()
    insight = RiskBound().explain(explained(network))
    assert insight is not None
    assert insight.figures["robust_risk"].value == insight.figures["bound"].value == 0.5


def test_features_of_a_network_that_sees_the_class():
    """Images whose first pixel is the class: its feature is useful, a perturbation that swaps it makes it useless."""
    one = explained(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), n=200)
    images = one.images.clone()
    images[:, 0, 0, 0] = one.labels.float()
    swapped = images.clone()
    swapped[:, 0, 0, 0] = 1 - one.labels.float()
    insight = Features().explain(Explained(**{**vars(one), "images": images, "perturbed": swapped}))
    assert insight is not None
    assert insight.figures["probe_clean"].value == 1.0
    assert insight.figures["probe_adversarial"].value == 0.0
    assert insight.arrays["rho"][0] == pytest.approx(1.0)
    assert insight.arrays["gamma"][0] == pytest.approx(-1.0)


def test_hard_images_are_those_of_the_smallest_margin():
    one = explained(linear())
    insight = HardImages(shown=3).explain(one)
    assert insight is not None
    logits = one.model(one.perturbed)
    p = logits.softmax(1)
    margins = p.gather(1, one.labels[:, None]).squeeze(1) - p.gather(1, 1 - one.labels[:, None]).squeeze(1)
    torch.testing.assert_close(torch.tensor(insight.arrays["margin"]), margins)
    torch.testing.assert_close(insight.pictures[0].data["rows"]["least robust"], one.images[margins.argsort()[:3]])


def test_of_a_linear_network_the_attack_with_gradients_breaks_more():
    insight = BlackBox(images=60, queries=30).explain(explained(linear(), n=60))
    assert insight is not None
    figures = {name: each.value for name, each in insight.figures.items()}
    assert figures["accuracy_white_box"] <= figures["accuracy_square"] <= figures["accuracy_clean"]


def test_an_attack_that_finds_less_than_square_is_told() -> None:
    """White-box images that change nothing, where Square breaks many: only then are the gradients suspected."""
    one = explained(linear(), n=60)
    right = one.model(one.images).argmax(1)
    blind = Explained(**{**vars(one), "labels": right, "perturbed": one.images, "threat": ThreatModel("linf", 0.5)})
    found = BlackBox(images=60, queries=60).explain(blind)
    assert found is not None and "masked" in found.sentence
    assert found.figures["only_square"].value > 0.05
    nothing = BlackBox(images=60, queries=1).explain(Explained(**{**vars(blind), "threat": ThreatModel("linf", 1e-6)}))
    assert nothing is not None and "not told apart" in nothing.sentence


def test_of_one_class_there_are_no_features_to_tell_apart() -> None:
    one = explained(linear())
    assert Features().explain(Explained(**{**vars(one), "labels": torch.zeros_like(one.labels)})) is None


def test_a_guide_that_is_the_network_agrees_with_it():
    network = SmallCNN(num_classes=3, in_channels=1, width=4)
    one = explained(network, classes=3)
    training = Training(network, Pulling(0.0), [], {"guide": network})
    insight = Distillation().explain(Explained(**{**vars(one), "training": training}))
    assert insight is not None
    assert insight.figures["agreement_clean"].value == 1.0
    assert insight.figures["tv_clean"].value == 0.0
    assert insight.figures["cka_clean"].value == pytest.approx(1.0)


def test_a_network_beside_itself_does_not_differ():
    network = SmallCNN(num_classes=3, in_channels=1, width=4)
    one = explained(network, classes=3)
    other = Explained(**{**vars(one), "name": "other"})
    shared = in_common([one, other])
    assert shared["failures"].pictures[0].data["values"] == [[1.0, 1.0], [1.0, 1.0]]
    assert shared["features"].pictures[0].data["values"][0] == pytest.approx([1.0, 1.0])
    outputs = OutputDistributions()
    found = Explanations({"outputs": {each.name: outputs.explain(each) for each in (one, other)}}, shared, 60, "PGD")
    differences = found.differences("outputs")["other"]
    assert len(differences) == 16 and "calibration_error_clean" in differences  # which is no mean: by shared samples
    assert all(each.value == 0 and each.interval == pytest.approx((0, 0), abs=1e-12) for each in differences.values())


def test_the_difference_of_two_calibration_errors_is_found_again() -> None:
    """Of a calibrated network and one that is 0.25 too sure: bootstrap samples raise the first one's error alone."""
    generator, covered = torch.Generator().manual_seed(0), 0
    for _ in range(20):
        right = torch.rand(300, generator=generator) * 0.4 + 0.55  # how often the first class is right
        labels = (torch.rand(300, generator=generator) > right).long()
        sound = torch.stack([right.log(), (1 - right).log()], dim=1)
        sure = torch.full((300,), 0.999)
        figures = [
            resampled(
                lambda rows, shown=shown, labels=labels: calibration_error(shown[rows], labels[rows]),
                *(300, "", torch.Generator().manual_seed(1)), draws=60, reflected=True,
            )
            for shown in (sound, torch.stack([sure.log(), (1 - sure).log()], dim=1))
        ]  # fmt: skip
        found = figures[1].less(figures[0])
        assert found is not None and found.interval is not None
        covered += found.interval[0] <= 0.249 <= found.interval[1]
    assert covered >= 12


def test_an_infinite_figure_lies_in_its_interval() -> None:
    sizes = torch.cat([torch.ones(80), torch.full((20,), torch.inf)])
    high = resampled(lambda rows: float(sizes[rows].sort().values[-15]), 100, "", torch.Generator().manual_seed(0))
    assert high.value == high.interval[1] == math.inf
