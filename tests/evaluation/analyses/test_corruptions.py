"""Common corruptions: those of the package, on images of any size, and the figures that follow."""

import numpy as np
import pytest
import torch
from imagecorruptions import corrupt
from torch import Tensor

from toughen.errors import InputError
from toughen.evaluation.analyses import Corruptions
from toughen.evaluation.analyses.corruptions import COMMON, corrupted
from toughen.threat import ThreatModel

# glass_blur is compiled for five seconds at its first use: it has a nightly test.
QUICK = [name for name in COMMON if name != "glass_blur"]


def picture(*shape: int) -> Tensor:
    """A smooth picture with some grain."""
    generator = torch.Generator().manual_seed(sum(shape))
    grain = torch.rand(shape, generator=generator) * 60
    return (grain + torch.linspace(0, 180, shape[-1])).byte()


def seeded(seed: tuple[int, ...]) -> int:
    return int(np.random.SeedSequence(seed).generate_state(1)[0])


@pytest.mark.parametrize("name", QUICK)
def test_on_colour_images_it_is_the_package(name: str) -> None:
    image, seed = picture(3, 40, 32), (3, 1, 2)
    told = {"seed": seeded(seed)} if name == "impulse_noise" else {}
    state = np.random.get_state()
    np.random.seed(seeded(seed))
    try:
        direct = corrupt(image.numpy().transpose(1, 2, 0).copy(), corruption_name=name, severity=3, **told)
    finally:
        np.random.set_state(state)
    ours = corrupted(image, seed, name, 3)
    assert torch.equal(ours, torch.from_numpy(direct.transpose(2, 0, 1).copy()))
    assert not torch.equal(ours, image)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 16, 24), (2, 32, 32), (3, 224, 224)])
def test_contrast_has_a_closed_form(shape: tuple[int, ...]) -> None:
    """Severity 1 keeps 0.4 of each pixel's distance from its channel's mean, on images of every size."""
    image = picture(*shape)
    means = image.double().mean(dim=(1, 2), keepdim=True)
    expected = (image - means) * 0.4 + means
    assert (corrupted(image, (0,), "contrast", 1) - expected).abs().max() <= 1


@pytest.mark.parametrize(("severity", "shift"), [(1, 0.1), (5, 0.5)])
def test_brightness_has_a_closed_form(severity: int, shift: float) -> None:
    image = picture(1, 8, 8)
    expected = (image.double() + 255 * shift).clamp(max=255)
    assert (corrupted(image, (0,), "brightness", severity) - expected).abs().max() <= 1


def test_noise_on_small_images_has_its_full_strength() -> None:
    """Severity 1 adds a standard deviation of 0.08, which is not averaged over the repeated pixels."""
    image = torch.full((1, 8, 8), 128, dtype=torch.uint8)
    noise = torch.stack([corrupted(image, (number,), "gaussian_noise", 1) for number in range(60)]).double() - 128
    assert noise.std() / 255 == pytest.approx(0.08, rel=0.05)


def test_every_seed_has_its_own_noise_and_numpy_stays_as_it_was() -> None:
    image, before = picture(1, 8, 8), np.random.get_state()[1].copy()
    for name in ("gaussian_noise", "impulse_noise", "snow"):
        first, same, other = (corrupted(image, seed, name, 3) for seed in ((1, 2), (1, 2), (1, 3)))
        assert torch.equal(first, same)
        assert not torch.equal(first, other)
    assert np.array_equal(np.random.get_state()[1], before)


def test_figures_are_the_models(study, network, images) -> None:
    chosen = ["gaussian_noise", "fog", "contrast"]
    facts = study(
        Corruptions([2, 5], chosen, images=30), network, images, ThreatModel("linf", 0.1), test_images=30, seed=7
    )
    pixels, labels = images.images.take(torch.arange(30)), images.labels[:30]
    shares = torch.zeros(30)
    assert [(row["corruption"], row["severity"]) for row in facts["rows"]] == [(n, s) for n in chosen for s in (2, 5)]
    for row in facts["rows"]:
        name, severity = row["corruption"], row["severity"]
        damaged = [corrupted(pixels[i], (7, COMMON.index(name), severity, i), name, severity) for i in range(30)]
        with torch.no_grad():
            right = network(torch.stack(damaged) / 255).argmax(1) == labels
        assert (row["held"], row["n"]) == (int(right.sum()), 30)
        shares += right / 6
    assert facts["mean"]["accuracy"] == pytest.approx(float(shares.mean()))
    assert facts["mean"]["accuracy"] == pytest.approx(sum(row["accuracy"] for row in facts["rows"]) / 6)
    assert facts["mean"]["interval"][0] < facts["mean"]["accuracy"] < facts["mean"]["interval"][1]
    assert (facts["library"], facts["enlarged"]) == ("imagecorruptions-imaug", 4)
    assert facts["settings"] == {"severities": [2, 5], "corruptions": chosen, "images": 30}


@pytest.mark.nightly
def test_all_fifteen_at_all_severities(study, network, images) -> None:
    settings = {"test_images": 12, "batch_size": 5}
    facts = study(Corruptions([1, 2, 3, 4, 5]), network, images, ThreatModel("linf", 0.1), **settings)
    assert len(facts["rows"]) == 75
    assert facts == study(Corruptions([1, 2, 3, 4, 5]), network, images, ThreatModel("linf", 0.1), **settings)
    for name in COMMON:
        held = [row["held"] for row in facts["rows"] if row["corruption"] == name]
        assert held[0] >= held[-1], name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"severities": [0]}, r"severities: expected one or more of 1, 2, 3, 4, 5, got \[0\]"),
        ({"severities": []}, "severities: expected one or more"),
        ({"corruptions": ["frogs"]}, "corruptions: unknown 'frogs'; did you mean 'frost'"),
        ({"images": 0}, "images: expected at least 1"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Corruptions(**settings)
