"""Every measure against a closed form, a brute force, or a library."""

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from scipy.stats import special_ortho_group, wasserstein_distance_nd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import brier_score_loss
from torch import Tensor, nn

from toughen.analysis.measures.bound import robust_risk
from toughen.analysis.measures.conflict import cosine, cosines_by_group, layer_groups
from toughen.analysis.measures.features import (
    disentanglement,
    fisher_ratio,
    intrinsic_dimension,
    linear_cka,
    prototype_distances,
    usefulness,
)
from toughen.analysis.measures.images import effective_share, image_weights, overlap
from toughen.analysis.measures.mixture import channel_moments, relative_shift, wasserstein2
from toughen.analysis.measures.outputs import (
    brier,
    calibration_error,
    entropy,
    jensen_shannon,
    probability_margin,
    total_variation,
)
from toughen.analysis.measures.surface import largest_curvature, linearity_error, on_plane
from toughen.losses import cross_entropy
from toughen.methods.arow import weighted_kl


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_two_parameters_pulled_apart_at_a_known_angle():
    weights = torch.zeros(2, requires_grad=True)
    for angle in np.linspace(0, np.pi, 7):
        direction = torch.tensor([math.cos(angle), math.sin(angle)])
        losses = [(weights - 3 * torch.tensor([1.0, 0.0])).square().sum(), (weights - direction).square().sum()]
        first, second = ([torch.autograd.grad(loss, weights)[0]] for loss in losses)
        assert cosine(first, second) == pytest.approx(math.cos(angle), abs=1e-6)


def test_a_gradient_of_zeros_conflicts_with_nothing():
    assert math.isnan(cosine([torch.zeros(3)], [torch.ones(3)]))
    assert math.isnan(cosine([None], [torch.ones(3)]))


def test_groups_are_parts_of_the_whole():
    names = [name for name, _ in nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)).named_parameters()]
    first = {name: drawn(4, seed=place) for place, name in enumerate(names)}
    second = {name: drawn(4, seed=place + 9) for place, name in enumerate(names)}
    groups = layer_groups(names)
    found = cosines_by_group(first, second, groups)
    g, h = (torch.cat([each[name] for name in names]) for each in (first, second))
    assert found.keys() == {"0", "1", "all"}
    assert found["all"] == pytest.approx(float(torch.cosine_similarity(g, h, dim=0)))
    assert found["0"] == pytest.approx(float(torch.cosine_similarity(g[:8], h[:8], dim=0)))


@pytest.mark.parametrize(("layers", "most"), [(3, 12), (40, 12)])
def test_layers_are_named_as_finely_as_there_is_room(layers: int, most: int):
    names = [f"network.stage{layer % 4}.{layer}.conv.weight" for layer in range(layers)] + ["network.fc.weight"]
    groups = layer_groups(names, most)
    assert sorted(name for group in groups.values() for name in group) == sorted(names)
    assert len(groups) == (layers + 1 if layers + 1 <= most else 5)


def test_normal_distributions_at_a_known_distance():
    mean, std = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 2.0])
    shifted = wasserstein2(
        mean, std**2, mean + torch.tensor([3.0, 0.0, 0.0]), (std + torch.tensor([0.0, 2.0, 0.0])) ** 2
    )
    assert shifted.tolist() == [3.0, 2.0, 0.0]


def test_the_distance_is_that_of_the_samples_by_sorting():
    first, second = (
        np.sort(np.random.default_rng(0).normal(0, 1, 100_000)),
        np.sort(np.random.default_rng(1).normal(1, 2, 100_000)),
    )
    sorted_distance = math.sqrt(((first - second) ** 2).mean())
    moments = [torch.tensor([each]) for each in (first.mean(), first.var(), second.mean(), second.var())]
    assert float(wasserstein2(*moments)) == pytest.approx(sorted_distance, rel=0.02)


def test_the_shift_is_in_standard_deviations_and_knows_no_scale():
    mean, variance = torch.tensor([0.0, 5.0]), torch.tensor([4.0, 0.0])
    other = torch.tensor([2.0, 5.0])
    assert relative_shift(mean, variance, other, variance) == pytest.approx(1.0)  # the constant channel says nothing
    assert relative_shift(10 * mean, 100 * variance, 10 * other, 100 * variance) == pytest.approx(1.0)
    assert relative_shift(mean, torch.zeros(2), mean, torch.zeros(2)) == 0.0


@pytest.mark.parametrize("shape", [(64, 3), (16, 3, 5, 5)])
def test_moments_are_those_of_batch_norm(shape: tuple[int, ...]):
    features = drawn(*shape) * 3 + 1
    layer = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(3, momentum=1.0, dtype=torch.float64)
    layer(features)
    mean, variance = channel_moments(features)
    count = features.numel() / 3
    assert layer.running_mean is not None and layer.running_var is not None
    torch.testing.assert_close(mean, layer.running_mean)
    torch.testing.assert_close(variance * count / (count - 1), layer.running_var)


def quadratic(matrix: Tensor):
    return lambda images: 0.5 * torch.einsum("ni,ij,nj->n", images.flatten(1), matrix, images.flatten(1))


@pytest.mark.parametrize("eigenvalues", [[5.0, 1.0, 0.5, 0.1], [-7.0, 1.0, 0.5, 0.1], [0.0, 0.0, 0.0, 0.0]])
def test_curvature_of_a_quadratic_is_its_largest_eigenvalue(eigenvalues: list[float]):
    turn = torch.tensor(special_ortho_group.rvs(4, random_state=0))
    losses = quadratic(turn @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ turn.T)
    found = largest_curvature(losses, drawn(3, 1, 2, 2), torch.Generator().manual_seed(0), iterations=100)
    assert found.tolist() == pytest.approx([eigenvalues[0]] * 3, rel=1e-2)


def test_curvature_of_a_linear_network_is_that_of_its_softmax():
    weight, images, labels = drawn(3, 4), drawn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    found = largest_curvature(
        lambda x: cross_entropy(x @ weight.T, labels),
        images,
        torch.Generator().manual_seed(0),
        iterations=300,
        tolerance=0,
    )
    for image, value in zip(images, found, strict=True):
        p = torch.softmax(weight @ image, dim=0)
        hessian = weight.T @ (torch.diag(p) - torch.outer(p, p)) @ weight
        assert float(value) == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-3)


def test_curvature_of_a_loss_that_is_linear_is_zero():
    weight = drawn(4)
    assert largest_curvature(lambda x: x.flatten(1) @ weight, drawn(2, 1, 2, 2), torch.Generator()).tolist() == [0, 0]


def test_linearity_error_of_a_quadratic_is_its_second_order():
    matrix, images, step = torch.diag(torch.tensor([2.0, 4.0], dtype=torch.float64)), drawn(3, 2), drawn(3, 2, seed=1)
    expected = 0.5 * (step.square() @ torch.tensor([2.0, 4.0], dtype=torch.float64))
    torch.testing.assert_close(linearity_error(quadratic(matrix), images, step), expected)
    assert linearity_error(lambda x: x.sum(1), images, step).max() < 1e-12


def test_the_plane_is_the_loss_at_its_points():
    images, first, second = drawn(2, 3), drawn(2, 3, seed=1), drawn(2, 3, seed=2)
    found = on_plane(lambda x: x.square().sum(1), images, first, second, [-1.0, 0.0, 2.0])
    assert found.shape == (2, 3, 3)
    torch.testing.assert_close(found[:, 0, 2], (images - first + 2 * second).square().sum(1))


def test_distances_of_distributions_are_scipys():
    first, second = drawn(6, 5) * 3, drawn(6, 5, seed=1) * 3
    p, q = torch.softmax(first, 1).numpy(), torch.softmax(second, 1).numpy()
    middle = (p + q) / 2
    halves = (rel_entr(p, middle).sum(1) + rel_entr(q, middle).sum(1)) / 2
    np.testing.assert_allclose(jensen_shannon(first, second).numpy(), halves, rtol=1e-10)
    np.testing.assert_allclose(entropy(first).numpy(), -(p * np.log(p)).sum(1), rtol=1e-10)
    np.testing.assert_allclose(total_variation(first, second).numpy(), np.abs(p - q).sum(1) / 2, rtol=1e-10)
    # With all points at distance one, what is moved is the total variation.
    corners = np.eye(5) / math.sqrt(2)
    moved = [wasserstein_distance_nd(corners, corners, a, b) for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(total_variation(first, second).numpy(), moved, rtol=1e-6)


def test_margins_have_the_sign_of_the_verdict():
    logits, labels = drawn(200, 4), torch.arange(200) % 4
    assert torch.equal(probability_margin(logits, labels) > 0, logits.argmax(1) == labels)


def test_the_bound_holds_for_every_image_and_is_counted_by_hand():
    logits, after, labels = drawn(5000, 3), drawn(5000, 3, seed=1), torch.arange(5000) % 3
    risk = robust_risk(logits, after, labels)
    assert bool((risk.bound >= risk.robust).all())
    for place in range(200):
        wrong = int(logits[place].argmax()) != int(labels[place])
        moved = int(logits[place].argmax()) != int(after[place].argmax())
        unsure = float(torch.softmax(after[place], 0)[labels[place]]) < 0.5
        assert float(risk.bound[place]) == wrong + (moved and unsure)
    tie = robust_risk(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    assert tie.bound.tolist() == tie.robust.tolist() == [1.0]


def test_a_linear_network_meets_its_bound_under_its_worst_perturbation():
    """Two classes and l-inf: the worst image is known, and no image that is right there counts."""
    weight, eps = drawn(6), 0.1
    images = drawn(400, 6)
    labels = (images @ weight + 0.3 * drawn(400, seed=3) > 0).long()
    side = (2 * labels - 1)[:, None]
    worst = images - eps * side * weight.sign()
    logits = [torch.stack([-(x @ weight), x @ weight], dim=1) for x in (images, worst)]
    risk = robust_risk(*logits, labels)
    margin = (side.squeeze(1) * (images @ weight)) - eps * weight.abs().sum()
    assert torch.equal(risk.robust.bool(), margin <= 0)
    assert float(risk.bound.mean()) == float(risk.robust.mean())


def test_separation_is_the_trace_of_linear_discriminant_analysis():
    labels = torch.arange(300) % 3
    features = drawn(300, 4) + 2 * torch.nn.functional.one_hot(labels, 4)
    x, y = features.numpy(), labels.numpy()
    known = LinearDiscriminantAnalysis(solver="eigen", store_covariance=True).fit(x, y)
    within = 300 * np.trace(known.covariance_)
    total = 300 * np.trace(np.cov(x.T, bias=True))
    assert fisher_ratio(features, labels) == pytest.approx((total - within) / within, rel=1e-9)
    turn = torch.tensor(special_ortho_group.rvs(4, random_state=1))
    assert fisher_ratio(7 * features @ turn + 5, labels) == pytest.approx(fisher_ratio(features, labels))


def test_likeness_is_one_for_the_same_features_turned_and_near_zero_for_others():
    features = drawn(500, 8)
    turn = torch.tensor(special_ortho_group.rvs(8, random_state=0))
    assert linear_cka(features, features) == pytest.approx(1.0)
    assert linear_cka(features, 3 * features @ turn + 2) == pytest.approx(1.0)
    assert linear_cka(features, drawn(500, 8, seed=1)) < 0.05
    stretched = features @ torch.diag(torch.tensor([5.0] * 4 + [1.0] * 4, dtype=torch.float64))
    # Few images with many features take the other way through the same formula.
    wide = linear_cka(features[:6], stretched[:6])
    x, y = (each[:6] - each[:6].mean(0) for each in (features, stretched))
    assert wide == pytest.approx(float((x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())))
    assert math.isnan(linear_cka(features, torch.ones(500, 2)))


def test_a_feature_is_as_useful_as_it_correlates_with_its_class():
    labels = torch.tensor([0, 1] * 50)
    sign = (2.0 * labels - 1).double()
    features = torch.stack([sign, -sign, drawn(100), torch.ones(100, dtype=torch.float64)], dim=1)
    features[:, 2] -= sign * (features[:, 2] @ sign) / 100  # says nothing of the class
    rho, gamma = usefulness(features, labels, features * torch.tensor([0.5, -1.0, 1.0, 1.0]))
    assert rho.tolist() == pytest.approx([1.0, 1.0, 0.0, 0.0], abs=1e-12)
    assert gamma.tolist()[:2] == pytest.approx([0.5, -1.0])
    correlation = np.corrcoef(drawn(100, seed=4).numpy(), labels.numpy())[0, 1]
    assert float(usefulness(drawn(100, 1, seed=4), labels, drawn(100, 1, seed=4))[0]) == pytest.approx(abs(correlation))


def test_importance_on_one_class_is_disentangled():
    assert disentanglement(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])) == 1.0
    half = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert disentanglement(half) == pytest.approx(1 / 3)  # a third of the importance is on a feature of one class
    assert disentanglement(torch.zeros(3, 2)) == 0.0


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_points_on_a_plane_have_its_dimension(dimension: int):
    points = torch.rand(2000, dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lifted = points @ drawn(dimension, 20)
    assert intrinsic_dimension(lifted) == pytest.approx(dimension, rel=0.1)
    with pytest.raises(ValueError, match="different rows"):
        intrinsic_dimension(torch.ones(100, 3))


def test_weights_are_those_of_the_methods():
    clean, perturbed, labels = drawn(50, 4), drawn(50, 4, seed=1), torch.arange(50) % 4
    divergence = cross_entropy(clean, torch.softmax(clean, 1)) * 0 + (
        torch.softmax(clean, 1) * (torch.log_softmax(clean, 1) - torch.log_softmax(perturbed, 1))
    ).sum(1)
    for name in ("arow", "cow"):
        own = weighted_kl(clean, perturbed, labels, name) / divergence
        torch.testing.assert_close(image_weights(clean, perturbed, labels, name), own / own.mean())
    p = torch.softmax(clean, 1)[torch.arange(50), labels]
    torch.testing.assert_close(image_weights(clean, perturbed, labels, "mart"), (1 - p) / (1 - p).mean())
    assert effective_share(image_weights(clean, perturbed, labels, "uniform")) == pytest.approx(1.0)


def test_overlap_of_sets_of_images():
    assert overlap(torch.tensor([True, True, False]), torch.tensor([True, False, False])) == 0.5
    assert overlap(torch.zeros(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)) == 1.0


def test_brier_is_the_library_s_over_both_classes():
    logits, labels = drawn(50, 2), torch.arange(50) % 2
    expected = brier_score_loss(labels, logits.softmax(1)[:, 1])
    assert float(brier(logits, labels).mean()) == pytest.approx(2 * expected)
    assert brier(torch.tensor([[200.0, 0.0]]), torch.tensor([1])).item() == 2.0


@pytest.mark.parametrize(("confidence", "right"), [(0.8, 4), (0.8, 5), (0.6, 1)])
def test_a_network_of_one_confidence_is_off_by_what_it_is_wrong(confidence: float, right: int):
    """Of every five images so many are right, so every bin of five says the same: `|accuracy - confidence|`."""
    labels = torch.zeros(75, dtype=torch.int64)
    predicted = (torch.arange(75) % 5 >= right).long()
    z = math.log(confidence / (1 - confidence))
    logits = torch.nn.functional.one_hot(predicted, 2) * z
    assert calibration_error(logits.double(), labels) == pytest.approx(abs(right / 5 - confidence), abs=1e-6)


def test_calibration_error_is_that_of_bins_in_a_loop():
    logits, labels = drawn(100, 4) * 3, torch.arange(100) % 4
    p = logits.softmax(1)
    rows = sorted((float(each.max()), float(each.argmax() == y)) for each, y in zip(p, labels, strict=True))
    error = 0.0
    for start in range(0, 100, 10):
        confidence, right = np.mean(rows[start : start + 10], axis=0)
        error += 0.1 * abs(confidence - right)
    assert calibration_error(logits, labels, bins=10) == pytest.approx(error)


def test_distances_to_a_prototype_are_those_to_the_mean_of_the_class():
    features, labels = drawn(30, 5), torch.arange(30) % 3
    means = [features[labels == k].mean(dim=0) for k in range(3)]
    plain = torch.tensor(
        [math.dist(x.tolist(), means[k].tolist()) for x, k in zip(features, labels.tolist(), strict=True)]
    )
    found = prototype_distances(features, labels)
    torch.testing.assert_close(found, (plain / plain.square().mean().sqrt()).double())
    turn = torch.tensor(special_ortho_group.rvs(5, random_state=0))
    torch.testing.assert_close(prototype_distances(7 * features @ turn + 5, labels), found)
    assert prototype_distances(torch.ones(4, 2), torch.tensor([0, 0, 1, 1])).tolist() == [0.0] * 4
