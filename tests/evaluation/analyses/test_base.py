"""Libraries that are extras, and analyses on images and classes of every number."""

import json
import sys

import pytest

from toughen.data import ImageSet
from toughen.data.source import Decoded
from toughen.errors import ToughenError
from toughen.evaluation.analyses import Corruptions, DecisionBased, EpsCurve, MinimumNorm, OtherNorms
from toughen.threat import ThreatModel


@pytest.mark.parametrize(
    ("analysis", "module", "extra"),
    [
        (MinimumNorm, "foolbox", "foolbox"),
        (DecisionBased, "foolbox", "foolbox"),
        (Corruptions, "imagecorruptions", "corruptions"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    analysis: type, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any attack: as the analysis is made."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ToughenError, match=rf"{module} cannot be imported .*pip install 'toughen\[{extra}\]'"):
        analysis()


@pytest.mark.parametrize(
    ("classes", "channels", "size", "norm"),
    [(2, 1, 8, "l1"), (3, 3, 32, "linf"), (10, 1, 28, "l2"), (37, 3, 33, "l1"), (200, 3, 64, "linf")],
)
def test_any_number_of_classes_and_pixels(study, untrained, classes: int, channels: int, size: int, norm: str) -> None:
    model, pictures, labels = untrained(classes, channels, size)
    pixels = (pictures * 255).byte()
    images = ImageSet(Decoded(pixels), labels, tuple(map(str, range(classes))), "noise")
    for analysis in (
        EpsCurve(points=3, steps=3, restarts=1),
        OtherNorms(steps=3, restarts=1),
        MinimumNorm(steps=5),
        DecisionBased(queries=20),
        Corruptions([1], ["gaussian_noise", "snow", "zoom_blur", "elastic_transform"]),
    ):
        facts = study(analysis, model, images, ThreatModel(norm))
        assert json.loads(json.dumps(facts, allow_nan=False)) == facts
        assert facts["settings"] == analysis.settings()


@pytest.mark.nightly
def test_images_of_224_pixels(study, untrained) -> None:
    model, pictures, labels = untrained(10, 3, 224)
    images = ImageSet(Decoded((pictures * 255).byte()), labels, tuple("abcdefghij"), "noise")
    for analysis in (
        EpsCurve(points=3),
        OtherNorms(steps=10),
        MinimumNorm(steps=20),
        DecisionBased(queries=100),
        Corruptions([3]),
    ):
        facts = study(analysis, model, images, ThreatModel("linf"))
        assert json.loads(json.dumps(facts, allow_nan=False)) == facts
