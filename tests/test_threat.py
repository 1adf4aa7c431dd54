"""Projections, starts and steps, for every norm, shape and dtype."""

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize
from torch import Tensor

from toughen.errors import InputError
from toughen.threat import Norm, ThreatModel, as_threat

RADII = {"linf": (1e-3, 8 / 255, 0.3, 0.7), "l2": (1e-3, 0.5, 2.0), "l1": (1e-3, 0.7, 12.0)}
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

properties = settings(derandomize=True, max_examples=40, deadline=None, database=None)
norms = pytest.mark.parametrize("norm", get_args(Norm))
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@st.composite
def centers(draw: st.DrawFn) -> tuple[Tensor, torch.Generator]:
    """Images in [0, 1], some pixels at exactly 0 and 1, and the generator to go on with."""
    shape = draw(st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(1, 8), st.integers(1, 8)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    images = torch.randint(-60, 316, shape, generator=generator).clamp(0, 255)
    return images.double() / 255, generator


def threats(norm: Norm) -> st.SearchStrategy[ThreatModel]:
    return st.sampled_from([ThreatModel(norm, eps) for eps in RADII[norm]])


def size(delta: Tensor, norm: str) -> list[float]:
    """The norm by NumPy, in double precision."""
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    return [float(np.linalg.norm(each.double().numpy().ravel(), order)) for each in delta]


def rounding(images: Tensor, norm: str) -> float:
    """Each pixel may move by the rounding of its dtype."""
    pixels = math.prod(images.shape[1:])
    return torch.finfo(images.dtype).eps * {"linf": 1.0, "l2": math.sqrt(pixels), "l1": pixels}[norm]


def assert_allowed(images: Tensor, center: Tensor, threat: ThreatModel) -> None:
    assert (images.shape, images.dtype) == (center.shape, center.dtype)
    assert bool(((images >= 0) & (images <= 1)).all())
    assert all(
        each <= threat.radius + rounding(center, threat.norm)
        for each in size(images.double() - center.double(), threat.norm)
    )
    assert threat.contains(images, center).tolist() == [True] * len(center)
    threat.check(images, center)


@dtypes
@norms
@properties
@given(data=st.data(), drawn=centers(), distance=st.sampled_from([0.0, 1e-3, 0.1, 1.0, 100.0]))
def test_projection_is_allowed_and_idempotent(
    norm: Norm,
    dtype: torch.dtype,
    data: st.DataObject,
    drawn: tuple[Tensor, torch.Generator],
    distance: float,
) -> None:
    threat = data.draw(threats(norm))
    center, generator = drawn[0].to(dtype), drawn[1]
    noise = torch.randn(center.shape, generator=generator, dtype=torch.float64)
    images = (center.double() + distance * noise).to(dtype)
    projected = threat.project(images, center)
    assert_allowed(projected, center, threat)
    assert torch.equal(threat.project(projected, center), projected)


@dtypes
@norms
@properties
@given(data=st.data(), drawn=centers(), share=st.sampled_from([0.0, 0.3, 0.99]))
def test_points_inside_stay_as_they_are(
    norm: Norm, dtype: torch.dtype, data: st.DataObject, drawn: tuple[Tensor, torch.Generator], share: float
) -> None:
    threat = data.draw(threats(norm))
    center, generator = drawn[0].to(dtype), drawn[1]
    noise = torch.rand(center.shape, generator=generator, dtype=torch.float64) - 0.5
    scale = torch.tensor([share * threat.radius / max(each, 1e-9) for each in size(noise, norm)])
    images = (center.double() + noise * scale.view(-1, 1, 1, 1)).clamp(0, 1).to(dtype)
    assert torch.equal(threat.project(images, center), images)


@dtypes
@norms
@properties
@given(data=st.data(), drawn=centers())
def test_random_start_is_allowed(
    norm: Norm, dtype: torch.dtype, data: st.DataObject, drawn: tuple[Tensor, torch.Generator]
) -> None:
    threat = data.draw(threats(norm))
    center = drawn[0].to(dtype)
    assert_allowed(threat.random_start(center, drawn[1]), center, threat)


@dtypes
@norms
@properties
@given(drawn=centers(), scale=st.sampled_from([1e-37, 1e-30, 1e-3, 1.0, 1e30]))
def test_steepest_has_norm_one(
    norm: Norm, dtype: torch.dtype, drawn: tuple[Tensor, torch.Generator], scale: float
) -> None:
    images, generator = drawn[0].to(dtype), drawn[1]
    gradient = scale * (0.1 + torch.rand(images.shape, generator=generator))
    gradient *= torch.randn(images.shape, generator=generator).sign()
    threat = ThreatModel(norm)
    step = threat.steepest(gradient, images)
    assert (step.shape, step.dtype) == (images.shape, dtype)
    assert size(step, norm) == pytest.approx([1.0] * len(images), abs=max(2 * torch.finfo(dtype).eps, 1e-5))
    assert bool((step * gradient.sign() >= 0).all())


@norms
def test_steepest_of_a_zero_gradient_is_zero(norm: Norm) -> None:
    gradient = torch.zeros(2, 3, 8, 8)
    gradient[1, 0, 0, 0] = -3.0
    step = ThreatModel(norm).steepest(gradient, gradient)
    assert torch.equal(step, gradient / 3)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@properties
@given(drawn=centers())
def test_steepest_reaches_the_dual_norm(norm: Norm, dual: int, drawn: tuple[Tensor, torch.Generator]) -> None:
    """Hoelder: no direction of norm 1 has a larger inner product with the gradient than its dual norm."""
    gradient = torch.randn(drawn[0].shape, generator=drawn[1], dtype=torch.float64)
    step = ThreatModel(norm).steepest(gradient, gradient)
    reached = (step * gradient).flatten(1).sum(1).numpy()
    np.testing.assert_allclose(reached, np.linalg.norm(gradient.flatten(1).numpy(), dual, axis=1), rtol=1e-9)


@pytest.mark.parametrize(("shape", "count"), [((3, 8, 8), 32), ((3, 20, 20), 60), ((1, 3, 3), 9)], ids=str)
def test_l1_step_moves_the_pixels_with_the_largest_gradient(shape: tuple[int, int, int], count: int) -> None:
    gradient = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    step = ThreatModel("l1").steepest(gradient, gradient)
    for g, moved in zip(gradient.flatten(1), step.flatten(1), strict=True):
        largest = sorted(g.abs().argsort(descending=True)[:count].tolist())
        assert moved.nonzero().flatten().tolist() == largest
        torch.testing.assert_close(moved[largest], g[largest] / g[largest].abs().sum())


def nearest(point: Tensor, center: Tensor, threat: ThreatModel) -> Tensor:
    """The nearest allowed point by a general solver: delta is `up - down`, both at least 0."""
    x, y = center.flatten().numpy(), point.flatten().numpy()
    pixels, limit = len(x), threat.radius if threat.norm == "linf" else np.inf
    bounds = [(0, min(room, limit)) for room in (*(1 - x), *x)]

    def objective(parts: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        difference = x + parts[:pixels] - parts[pixels:] - y
        return float(difference @ difference), 2 * np.concatenate([difference, -difference])

    budget = {"type": "ineq", "fun": lambda p: threat.radius - p.sum(), "jac": lambda p: -np.ones(2 * pixels)}
    found = minimize(
        objective, np.zeros(2 * pixels), jac=True, bounds=bounds, method="SLSQP", tol=1e-14,
        constraints=[budget] if threat.norm == "l1" else [], options={"maxiter": 500},
    )  # fmt: skip
    return torch.from_numpy(x + found.x[:pixels] - found.x[pixels:]).view_as(center)


@pytest.mark.parametrize("threat", [ThreatModel("l1", 0.4), ThreatModel("l1", 1.5), ThreatModel("linf", 0.2)], ids=str)
@settings(properties, max_examples=25)
@given(seed=st.integers(0, 2**31), distance=st.sampled_from([0.2, 0.5, 3.0]))
def test_projection_is_the_nearest_point_of_ball_and_box(threat: ThreatModel, seed: int, distance: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(3, 1, 2, 3, generator=generator, dtype=torch.float64)
    images = center + distance * torch.randn(center.shape, generator=generator, dtype=torch.float64)
    expected = torch.stack([nearest(*pair, threat) for pair in zip(images, center, strict=True)])
    torch.testing.assert_close(threat.project(images, center), expected, atol=1e-5, rtol=0)
    single = threat.project(images.float(), center.float())
    torch.testing.assert_close(single.double(), expected, atol=1e-5, rtol=0)


def test_l2_projection_scales_to_the_ball_and_then_clips() -> None:
    center = torch.tensor([0.9, 0.5]).view(1, 1, 1, 2)
    images = center + torch.tensor([0.6, 0.8]).view_as(center)
    projected = ThreatModel("l2", 0.5).project(images, center)
    torch.testing.assert_close(projected, torch.tensor([1.0, 0.9]).view_as(center))


# Starts in the interior, so that nothing is clipped. The generator is fixed: a p-value under 0.1 % means a
# wrong law.
DIMENSIONS = 12


def starts(norm: Norm, eps: float) -> np.ndarray[Any, Any]:
    """4,000 perturbations in units of eps, one a row."""
    center = torch.full((4000, 3, 2, 2), 0.5, dtype=torch.float64)
    noise = ThreatModel(norm, eps).random_start(center, torch.Generator().manual_seed(0)) - center
    return noise.flatten(1).numpy() / eps


def p_value(sample: np.ndarray[Any, Any], law: Any) -> float:
    return float(stats.kstest(sample, law.cdf).pvalue)


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("l1", 1)])
def test_start_has_the_radius_of_a_uniform_point(norm: Norm, order: int) -> None:
    """The share of the ball's volume within radius r is r^D."""
    radius = np.linalg.norm(starts(norm, 0.3), order, axis=1)
    assert p_value(radius**DIMENSIONS, stats.uniform()) > 1e-3


def test_linf_start_is_uniform_in_every_pixel() -> None:
    noise = starts("linf", 0.3)
    assert all(p_value(pixel, stats.uniform(-1, 2)) > 1e-3 for pixel in noise.T)
    assert p_value(np.abs(noise).max(1) ** DIMENSIONS, stats.uniform()) > 1e-3


def test_l2_start_has_no_preferred_direction() -> None:
    """In the unit ball, t along any direction: (1 + t) / 2 has the law Beta((D + 1) / 2, (D + 1) / 2)."""
    noise = starts("l2", 0.3)
    law = stats.beta((DIMENSIONS + 1) / 2, (DIMENSIONS + 1) / 2)
    diagonal = noise.sum(1) / math.sqrt(DIMENSIONS)
    assert all(p_value((1 + along) / 2, law) > 1e-3 for along in (*noise.T, diagonal))


def test_l1_start_is_uniform_in_every_pixel() -> None:
    """In the unit cross-polytope |t| of any pixel has the law Beta(1, D), its sign is a fair coin."""
    noise = starts("l1", 0.3)
    assert all(p_value(np.abs(pixel), stats.beta(1, DIMENSIONS)) > 1e-3 for pixel in noise.T)
    assert all(stats.binomtest(int((pixel > 0).sum()), len(pixel)).pvalue > 1e-3 for pixel in noise.T)


@norms
def test_start_comes_from_the_generator_alone(norm: Norm) -> None:
    center, threat = torch.full((2, 1, 3, 3), 0.5), ThreatModel(norm)
    before = torch.get_rng_state()
    first, second = (threat.random_start(center, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, threat.random_start(center, torch.Generator().manual_seed(6)))
    assert torch.equal(torch.get_rng_state(), before)


@dtypes
@norms
def test_more_than_rounding_is_outside(norm: Norm, dtype: torch.dtype) -> None:
    center = torch.full((1, 1, 2, 2), 0.5, dtype=dtype)
    images = center.clone()
    images[0, 0, 0, 0] = 0.75
    beyond = rounding(center, norm)
    just_in, just_out = (ThreatModel(norm, 0.25 - factor * beyond) for factor in (0.9, 1.1))
    assert just_in.contains(images, center).tolist() == [True]
    assert just_out.contains(images, center).tolist() == [False]


def test_check_says_how_far_outside() -> None:
    center = torch.full((3, 1, 1, 2), 0.5)
    images = center.clone()
    images[1, 0, 0] = torch.tensor([1.25, 0.5])
    images[2, 0, 0] = torch.tensor([0.5, 0.2])
    message = r"2 of 3 images leave the threat model linf 8/255: largest distance 0\.75, values in \[0\.2, 1\.25\]"
    with pytest.raises(InputError, match=message):
        ThreatModel().check(images, center)


@norms
@pytest.mark.parametrize("value", [-0.001, 1.001, math.nan])
def test_outside_the_box_is_not_allowed(norm: Norm, value: float) -> None:
    """Also where the ball would allow it."""
    center = torch.full((1, 1, 2, 2), min(max(value, 0.0), 1.0) if value == value else 0.5)
    images = center.clone()
    images[0, 0, 0, 0] = value
    assert ThreatModel(norm, 0.5).contains(images, center).tolist() == [False]


@pytest.mark.parametrize(("norm", "eps"), [("linf", 8 / 255), ("l2", 0.5), ("l1", 12.0)])
def test_default_radius(norm: Norm, eps: float) -> None:
    assert ThreatModel(norm).radius == eps


@pytest.mark.parametrize("eps", ["8/255", 8 / 255, str(8 / 255)])
def test_radius_may_be_written_as_text(eps: str | float) -> None:
    threat = ThreatModel("linf", eps)
    assert (threat.radius, str(threat), repr(threat)) == (8 / 255, "linf 8/255", "ThreatModel(linf, 8/255)")
    assert threat == ThreatModel()


def test_norm_ignores_case() -> None:
    assert ThreatModel("LINF").norm == "linf"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("eps", "message"),
    [
        (8, r"expected an l-inf radius below 1 \(images lie in \[0, 1\]\), got 8; did you mean 8/255\?"),
        ("8", r"got '8'; did you mean 8/255\?"),
        (1, r"got 1; did you mean 1/255\?"),
        (-0.1, r"threat\.eps: expected a positive radius, got -0\.1"),
        (0, r"threat\.eps: expected a positive radius, got 0"),
        ("0/255", r"threat\.eps: expected a positive radius, got '0/255'"),
        (math.nan, r"threat\.eps: expected a finite number, got nan"),
        (math.inf, r"threat\.eps: expected a finite number, got inf"),
        ("eight", r"threat\.eps: expected a number such as 0\.03 or 8/255, got 'eight'"),
    ],
)
def test_impossible_radius(eps: float | str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ThreatModel("linf", eps)


def test_unknown_norm() -> None:
    with pytest.raises(InputError, match=r"threat\.norm: expected one of linf, l2, l1, got 'l3'"):
        ThreatModel("l3")  # type: ignore[arg-type]


@norms
def test_a_random_start_does_not_depend_on_the_layout(norm: Norm) -> None:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    threat = ThreatModel(norm, 0.1)
    starts = [
        threat.random_start(images.contiguous(memory_format=layout), torch.Generator().manual_seed(1))
        for layout in (torch.contiguous_format, torch.channels_last)
    ]
    torch.testing.assert_close(*starts, rtol=0, atol=1e-6)
    assert starts[1].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_pixel_without_a_gradient_counts_as_zero(norm: str, bad: float):
    """The other pixels go as they would if its gradient were 0."""
    if norm == "linf" and bad == math.inf:
        return  # its sign is known
    gradient = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    broken, zero = gradient.clone(), gradient.clone()
    broken[:, :, 0], zero[:, :, 0] = bad, 0.0
    threat, images = ThreatModel(norm, 0.5), torch.zeros_like(gradient)
    assert torch.equal(threat.steepest(broken, images), threat.steepest(zero, images))


@norms
def test_an_image_of_ones_is_as_far_from_black_as_the_norm_says(norm: Norm):
    """What `slack` and `unbounded` count on, against NumPy's norm."""
    images = torch.zeros(3, 3, 4, 5)
    ones = float(np.linalg.norm(np.ones(60), {"linf": np.inf, "l2": 2, "l1": 1}[norm]))
    threat = ThreatModel(norm)
    assert threat.slack(images) == pytest.approx(2**-23 * ones)
    assert threat.unbounded(images).radius == pytest.approx(ones)
    assert threat.bounds_each_pixel == (norm == "linf")


def test_a_threat_is_given_whole_or_by_eps_and_norm():
    threat = ThreatModel("l2", 0.25)
    assert as_threat(threat) is threat
    assert as_threat(eps="1/4", norm="l2") == threat
    assert as_threat(eps="8/255") == ThreatModel("linf", 8 / 255)
    assert as_threat(norm="l1") == ThreatModel("l1", 12)


@pytest.mark.parametrize("given", ["linf", 8 / 255, "8/255", ThreatModel])
def test_what_is_no_threat_model_is_told_what_to_write(given: Any):
    with pytest.raises(InputError, match=r'expected a ThreatModel, got .*; write ThreatModel\("linf", "8/255"\)'):
        as_threat(given)


@pytest.mark.parametrize("more", [{"eps": 0.1}, {"norm": "l2"}])
def test_a_threat_model_with_another_eps_is_refused(more: dict[str, Any]):
    with pytest.raises(InputError, match="leave one of the two out"):
        as_threat(ThreatModel(), **more)
