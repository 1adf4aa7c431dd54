import pytest

from toughen.commands.settings import check_settings
from toughen.commands.train import DEFAULTS
from toughen.errors import InputError


@pytest.mark.parametrize("clip", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_bound_of_the_gradient_is_above_zero(clip: float) -> None:
    """torch multiplies with bound / norm: a negative one climbs the loss, 0 leaves the weights where they are."""
    with pytest.raises(InputError, match="--clip_grad_norm: expected a norm above 0"):
        check_settings({**DEFAULTS, "clip_grad_norm": clip})


@pytest.mark.parametrize("clip", [None, 1e-3, 5])
def test_a_usable_bound_of_the_gradient_passes(clip: float | None) -> None:
    check_settings({**DEFAULTS, "clip_grad_norm": clip})
