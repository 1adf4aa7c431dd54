"""Accuracy against eps, where every point is known, and on digits."""

import statistics
from itertools import pairwise

import pytest
from scipy.integrate import trapezoid

from toughen.attacks import PGD
from toughen.errors import InputError
from toughen.evaluation.analyses import EpsCurve
from toughen.threat import ThreatModel


@pytest.mark.parametrize(("norm", "eps", "nearly"), [("linf", 0.01, 1), ("l2", 0.1, 0.97), ("l1", 0.3, 0.95)])
def test_every_point_of_a_plane(study, linear, norm: str, eps: float, nearly: float) -> None:
    """An image holds at every radius below its distance, and falls at every one that is a few percent above."""
    facts = study(EpsCurve(points=5), linear.model, linear.images, ThreatModel(norm, eps), batch_size=40)
    sizes = linear.smallest(norm)
    assert [point["eps"] for point in facts["points"]] == pytest.approx([eps * k / 2 for k in range(5)])
    assert facts["points"][2]["eps"] == eps
    for point in facts["points"]:
        exact = sum(size > point["eps"] for size in sizes)
        assert exact <= point["held"] <= sum(size > nearly * point["eps"] for size in sizes)
        assert point["n"] == 40
    held = [point["held"] for point in facts["points"]]
    assert held == sorted(held, reverse=True)
    assert held[0] == 39
    assert held[-1] < 20
    assert (facts["attack"], facts["norm"]) == ("apgd20" if norm == "l1" else "pgd20_margin", norm)


def test_the_area_is_the_mean_accuracy_over_the_radii(study, linear) -> None:
    """Against a plain sum over the points, and against each image's own area with four images added."""
    facts = study(EpsCurve(points=5), linear.model, linear.images, ThreatModel("linf", 0.01))
    points = facts["points"]
    area = sum(
        (first["accuracy"] + second["accuracy"]) / 2 * (second["eps"] - first["eps"])
        for first, second in pairwise(points)
    )
    assert facts["area"] == pytest.approx(area / 0.02)
    radii = [point["eps"] for point in points]
    own = []
    for size in linear.smallest("linf"):
        held = [float(size > eps) for eps in radii]
        own.append(trapezoid(held, radii) / radii[-1])
    assert facts["area"] == pytest.approx(statistics.fmean(own))
    more = [*own, 0, 0, 1, 1]
    half = 1.959964 * statistics.pstdev(more) / len(more) ** 0.5
    middle = statistics.fmean(more)
    assert facts["area_interval"] == pytest.approx([middle - half, middle + half])


def test_broken_images_are_not_attacked_again(study, linear, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    attack = PGD.run

    def counted(self, model, images, *arguments, **settings):
        seen.append(len(images))
        return attack(self, model, images, *arguments, **settings)

    monkeypatch.setattr(PGD, "run", counted)
    facts = study(EpsCurve(images=16), linear.model, linear.images, ThreatModel("linf", 0.01))
    held = [point["held"] for point in facts["points"]]
    assert held[-1] < held[0]
    assert seen == [count for count in held[:-1] if count]
    assert {point["n"] for point in facts["points"]} == {16}


def test_on_digits_the_point_at_eps_is_that_of_the_attack(study, network, images) -> None:
    """The same attack alone at the threat model's radius breaks the same images, up to its random starts."""
    threat = ThreatModel("linf", 0.08)
    curve = study(EpsCurve(points=3, images=60), network, images, threat, test_images=60)
    alone = study(EpsCurve(points=2, reach=1, images=60), network, images, threat, test_images=60)
    assert [point["eps"] for point in curve["points"]] == [0.0, 0.08, 0.16]
    assert [point["eps"] for point in alone["points"]] == [0.0, 0.08]
    assert curve["points"][:2] == alone["points"]
    assert 0 < curve["points"][1]["held"] < 60


def test_the_threats_own_radius_is_always_there() -> None:
    radii = EpsCurve(points=4).radii(ThreatModel("l2", 0.3))
    assert radii == pytest.approx([0, 0.2, 0.3, 0.4, 0.6])
    assert 0.3 in radii
    largest = EpsCurve().radii(ThreatModel("linf", 0.9))
    assert 0.9 in largest
    assert 0.999 < largest[-1] < 1


@pytest.mark.parametrize("settings", [{"points": 1}, {"reach": 0.5}, {"images": 0}, {"steps": 0}, {"restarts": 0}])
def test_settings_out_of_range(settings: dict) -> None:
    with pytest.raises(InputError, match=rf"{next(iter(settings))}: expected at least"):
        EpsCurve(**settings)
