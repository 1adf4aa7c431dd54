"""Robustness to the other norms, where it is known."""

import pytest

from toughen.errors import InputError
from toughen.evaluation.analyses import OtherNorms
from toughen.threat import ThreatModel

RADII = {"linf": 0.01, "l2": 0.08, "l1": 0.3}


@pytest.mark.parametrize("own", ["linf", "l2", "l1"])
def test_the_other_two_norms_beside_a_plane(study, linear, own: str) -> None:
    """Each image holds where it lies farther away than the radius; attacks come within 3 % of that."""
    facts = study(OtherNorms(RADII, steps=20), linear.model, linear.images, ThreatModel(own), batch_size=40)
    assert [row["norm"] for row in facts["rows"]] == [norm for norm in RADII if norm != own]
    for row in facts["rows"]:
        sizes, eps = linear.smallest(row["norm"]), RADII[row["norm"]]
        assert row["eps"] == eps
        assert row["n"] == 40
        assert sum(size > eps for size in sizes) <= row["held"] <= sum(size > 0.97 * eps for size in sizes)
        assert 5 < row["held"] < 35
        assert row["attack"] == ("apgd20" if row["norm"] == "l1" else "pgd20_margin")


def test_radii_default_to_the_customary_ones(study, linear) -> None:
    analysis = OtherNorms({"l2": "1/4"}, images=4, steps=1, restarts=1)
    facts = study(analysis, linear.model, linear.images, ThreatModel("linf"))
    assert [(row["norm"], row["eps"], row["n"]) for row in facts["rows"]] == [("l2", 0.25, 4), ("l1", 12.0, 4)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": {"l3": 1}}, r"eps: expected radii by norm \(linf, l2, l1\), got l3"),
        ({"eps": {"l2": -1}}, "eps: expected a positive radius"),
        ({"steps": 0}, "steps: expected at least 1"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        OtherNorms(**settings)
