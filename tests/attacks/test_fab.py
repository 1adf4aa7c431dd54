"""FAB without sorting, against the library's own."""

from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyautoattack import fab_base
from pyautoattack.fab_projections import projection_l2, projection_linf
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor

from toughen.attacks import fab
from toughen.attacks.fab import to_hyperplane, without_sorting
from toughen.errors import ToughenError

LIBRARY = {"linf": projection_linf, "l2": projection_l2}


def length(step: Tensor, norm: str) -> Tensor:
    return step.abs().amax(1) if norm == "linf" else step.norm(dim=1)


@settings(deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 60),
    st.sampled_from(["linf", "l2"]),
    st.floats(0.01, 0.98) | st.floats(1.02, 1.2),
)
def test_the_nearest_point_is_the_librarys(seed: int, size: int, norm: Literal["linf", "l2"], share: float):
    """`share` of the way from the point to where the hyperplane leaves the box; above 1 no point lies on it.

    Close to 1 a pixel of little weight has to go far for the last digit, and rounding decides.
    """
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(8, size, generator=generator)
    points[:, ::5] = points[:, ::5].round()
    normal = torch.randn(8, size, generator=generator)
    normal[:, 1::7] = 0
    corner = (normal > 0).float()
    offset = (normal * points).sum(1) + share * (normal * (corner - points)).sum(1)
    found, expected = to_hyperplane(points, normal, offset, norm), LIBRARY[norm](points, normal, offset)
    assert bool(((points + found >= -1e-6) & (points + found <= 1 + 1e-6)).all())
    if share <= 1:
        assert torch.allclose((normal * (points + found)).sum(1), offset, atol=1e-4 * max(1, size / 10))
        assert bool((length(found, norm) <= length(expected, norm) * (1 + 1e-3) + 1e-5).all())
    else:
        assert torch.allclose(points + found, torch.where(normal == 0, points, corner), atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("excess", [0.1, 1e-4])
def test_a_small_step_in_a_large_image_is_exact(norm: Literal["linf", "l2"], excess: float):
    """Against fp64, with as many pixels as ImageNet's: what all of them could gain is a million times as much."""
    generator = torch.Generator().manual_seed(0)
    points = 0.25 + 0.5 * torch.rand(1, 150_528, generator=generator, dtype=torch.float64)
    normal = 0.05 * torch.randn(1, 150_528, generator=generator, dtype=torch.float64)
    offset = (normal * points).sum(1) - excess
    exact = to_hyperplane(points, normal, offset, norm)
    assert torch.allclose((normal * (points + exact)).sum(1), offset, rtol=0, atol=1e-9)
    # An offset with the same excess in fp32, but for its own last digit.
    narrow = (normal.float() * points.float()).sum(1) - excess
    found = to_hyperplane(points.float(), normal.float(), narrow, norm)
    assert float((found - exact).norm() / exact.norm()) < 0.02


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.1), ("L2", 0.8)])
def test_the_attack_finds_what_the_librarys_does(robust_network, batch, norm: str, eps: float):
    images, labels = batch
    found = []
    for change in (lambda attack: attack, without_sorting):
        attack = FABAttack_PT(
            robust_network, norm=norm, eps=eps, n_iter=30, targeted=True, n_target_classes=3, device=images.device
        )
        found.append(change(attack).perturb(images, labels))
    exact, lean = ((robust_network(images).argmax(1) != labels) for images in found)
    assert 0 < int(exact.sum()) < len(labels)
    assert int((exact != lean).sum()) <= 1
    assert float((found[0] - found[1]).abs().flatten(1).amax(1).median()) < 1e-4


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_librarys_loop_calls_it_and_the_library_is_left_as_it_was(
    robust_network, batch, norm: Literal["linf", "l2"], monkeypatch: pytest.MonkeyPatch
):
    before, calls = dict(vars(fab_base)), []
    monkeypatch.setattr(fab, "to_hyperplane", lambda *given, norm: calls.append(norm) or to_hyperplane(*given, norm))
    fab._second_copy.cache_clear()
    library_norm = {"linf": "Linf", "l2": "L2"}[norm]
    without_sorting(FABAttack_PT(robust_network, norm=library_norm, eps=0.1, n_iter=2)).perturb(*batch)
    assert calls == [norm] * 2
    assert all(vars(fab_base)[name] is value for name, value in before.items())
    fab._second_copy.cache_clear()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("d3 = projection_linf(", "d3 = nearest("),
        ("projection_linf, projection_l2,", "projection_linf as p, projection_l2,"),
        ("class FABAttack", "def projection_l2(points, normal, offset, box): ...\n\n\nclass FABAttack"),
    ],
)
def test_a_changed_library_is_an_error(old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = Path(fab_base.__file__).read_text()
    assert old in source
    changed = tmp_path / "fab_base.py"
    changed.write_text(source.replace(old, new))
    monkeypatch.setattr(fab, "find_spec", lambda name: spec_from_file_location(name, changed))
    fab._second_copy.cache_clear()
    with pytest.raises(ToughenError, match=r"FAB: expected .* to call projection_l(inf|2)\(points, normal, offset\)"):
        without_sorting(FABAttack_PT(torch.nn.Identity()))
