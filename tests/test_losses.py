import math

import pytest
import torch
import torch.nn.functional as F

from toughen.errors import InputError
from toughen.losses import cross_entropy, dlr, kl, kl_to, lq_distance, margin, squared_error

EXTREME = torch.tensor([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0], [1e4, 1e4, -1e4], [5.0, 5.0, 5.0]], dtype=torch.float32)


def random_logits(seed: int, n: int = 5, k: int = 7) -> torch.Tensor:
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


def test_kl_is_the_plain_sum() -> None:
    first, second = random_logits(0), random_logits(1)
    for i, value in enumerate(kl(first, second)):
        p, q = first[i].softmax(0), second[i].softmax(0)
        plain = sum(p[k].item() * math.log(p[k].item() / q[k].item()) for k in range(7))
        assert value.item() == pytest.approx(plain, abs=1e-12)


def test_kl_to_is_kl_with_the_target_fixed() -> None:
    first, second = random_logits(0).requires_grad_(), random_logits(1).requires_grad_()
    objective = kl_to(first)
    torch.testing.assert_close(objective(second), kl(first, second))
    ours = torch.autograd.grad(objective(second).sum(), second)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(kl(first, second).sum(), second)[0])


def test_smoothed_cross_entropy_is_the_plain_sum() -> None:
    logits, labels = random_logits(2), torch.tensor([0, 3, 6, 1, 1])
    for i, value in enumerate(cross_entropy(logits, labels, smoothing=0.2)):
        log_p = logits[i].log_softmax(0)
        plain = -0.8 * log_p[labels[i]] - sum(0.2 / 7 * log_p[k] for k in range(7))
        assert value.item() == pytest.approx(plain.item(), abs=1e-12)


def test_squared_error_averages_to_mse() -> None:
    first, second = random_logits(0), random_logits(1)
    torch.testing.assert_close(squared_error(first, second).mean(), F.mse_loss(first, second))


@pytest.mark.parametrize("q", [1.0, 1.5, 2.0, 3.0])
def test_lq_distance_is_the_plain_sum_and_its_gradient_is_finite_at_zero(q: float) -> None:
    first, second = random_logits(0), random_logits(1)
    plain = [
        sum(abs(a - b) ** q for a, b in zip(x, y, strict=True)) ** (1 / q) for x, y in zip(first, second, strict=True)
    ]
    torch.testing.assert_close(lq_distance(first, second, q), torch.stack(plain))
    equal = torch.zeros(2, 3, requires_grad=True)
    lq_distance(equal, torch.zeros(2, 3), q).sum().backward()
    assert torch.equal(equal.grad, torch.zeros(2, 3))


def test_lq_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        lq_distance(random_logits(0), random_logits(1), 0.5)


def test_margin_is_positive_exactly_where_misclassified() -> None:
    logits = random_logits(3, n=200, k=4)
    labels = torch.arange(200) % 4
    assert torch.equal(margin(logits, labels) > 0, logits.argmax(1) != labels)


def test_dlr_against_its_definition_and_its_invariance() -> None:
    logits, labels = random_logits(4), torch.tensor([0, 1, 2, 3, 4])
    for i, value in enumerate(dlr(logits, labels)):
        z, y = logits[i].tolist(), int(labels[i])
        ordered = sorted(z, reverse=True)
        plain = -(z[y] - max(v for k, v in enumerate(z) if k != y)) / (ordered[0] - ordered[2])
        assert value.item() == pytest.approx(plain, rel=1e-9)
    torch.testing.assert_close(dlr(logits * 1000 + 3, labels), dlr(logits, labels), rtol=1e-6, atol=1e-6)


def test_dlr_needs_three_classes() -> None:
    with pytest.raises(InputError, match="margin"):
        dlr(torch.zeros(1, 2), torch.tensor([0]))


@pytest.mark.parametrize("other", [EXTREME, EXTREME.roll(1, 0), torch.zeros_like(EXTREME)])
def test_extreme_logits_give_finite_values_and_gradients(other: torch.Tensor) -> None:
    labels = torch.tensor([1, 0, 2, 1])
    for loss in (
        kl,
        squared_error,
        lambda a, b: lq_distance(a, b, 2),
        lambda a, b: cross_entropy(a, labels, 0.1),
    ):
        a, b = EXTREME.clone().requires_grad_(), other.clone().requires_grad_()
        value = loss(a, b)
        value.sum().backward()
        assert value.isfinite().all()
        assert a.grad.isfinite().all()
        assert b.grad is None or b.grad.isfinite().all()


@pytest.mark.parametrize(
    "loss", [kl, squared_error, lambda a, b: lq_distance(a, b, 2), lambda a, b: lq_distance(a, b, 3)]
)
def test_gradcheck(loss) -> None:
    assert torch.autograd.gradcheck(
        loss, (random_logits(0, 3, 4).requires_grad_(), random_logits(1, 3, 4).requires_grad_())
    )


def test_half_precision_is_widened() -> None:
    half = random_logits(0).bfloat16()
    assert kl(half, half.flip(0)).dtype == torch.float32
    assert cross_entropy(half, torch.zeros(5, dtype=torch.int64)).dtype == torch.float32
