"""What a network looks at, where that is known: linear networks, and Captum's own identities."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toughen.analysis import Explained, Saliency
from toughen.analysis import saliency as module
from toughen.analysis.measures.saliency import alignment, correlation, gini
from toughen.errors import ToughenError
from toughen.models import SmallCNN
from toughen.threat import ThreatModel


def explained(model: nn.Module, classes: int = 2, channels: int = 1) -> Explained:
    images = torch.rand(40, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    labels, model = torch.arange(40) % classes, model.eval().requires_grad_(False)
    names = [f"class {k}" for k in range(classes)]
    return Explained("one", model, images, images, labels, names, ThreatModel("linf", 0.1))


def linear(templates: Tensor) -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, len(templates), bias=False))
    with torch.no_grad():
        network[1].weight[:] = templates.flatten(1)
    return network


def test_alignment_is_the_cosine_and_gini_its_formula_over_pairs() -> None:
    """The Gini index as the mean difference over twice the mean."""
    images, gradients = torch.rand(5, 1, 4, 4), torch.randn(5, 1, 4, 4)
    cosine = torch.cosine_similarity(images.flatten(1), gradients.flatten(1)).abs()
    torch.testing.assert_close(alignment(images, gradients), cosine)
    sizes = gradients.flatten(1).abs()
    pairs = (sizes[:, :, None] - sizes[:, None]).abs().mean((1, 2)) / (2 * sizes.mean(1))
    torch.testing.assert_close(gini(gradients), pairs)
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(images, gradients, strict=True)]
    np.testing.assert_allclose(correlation(images, gradients), expected, rtol=1e-4)


def test_a_linear_network_looks_at_its_weights() -> None:
    """Its gradients are its weights, and a visualised class is noise moved along their difference."""
    templates = torch.zeros(2, 1, 8, 8)
    templates[0, :, :4], templates[1, :, 4:] = 0.1, 0.1
    one = explained(linear(templates))
    one.images[one.labels == 0, :, 4:] = 0.0
    one.images[one.labels == 1, :, :4] = 0.0
    found = Saliency().explain(one)
    assert found is not None
    inside = one.images.flatten(1).sum(1) / (one.images.flatten(1).norm(dim=1) * 32**0.5)
    torch.testing.assert_close(torch.tensor(found.arrays["alignment"]), inside)
    assert found.figures["sparsity"].value == pytest.approx(0.0, abs=1e-4)  # the halves count alike
    assert found.figures["class_likeness"].value > 0.9
    seen = found.pictures[1].data["rows"]["visualisation"]
    assert float(seen[0, :, :4].mean() - seen[0, :, 4:].mean()) > 0.4
    start = 0.5 + 0.1 * torch.randn(1, 1, 8, 8, generator=one.generator())
    assert float((seen - start.clamp(0, 1)).flatten(1).norm(dim=1).max()) <= 0.25 * 8 + 1e-4


def test_captum_s_rows_stand_beside_the_gradient_of_the_same_images() -> None:
    """Integrated gradients of a bias-free linear network are weight times image."""
    templates = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    one = explained(linear(templates))
    found = Saliency(shown=3).explain(one)
    assert found is not None
    rows = found.pictures[0].data["rows"]
    assert list(rows) == [
        "image",
        "gradient towards the label",
        "integrated gradients",
    ]  # without a convolution no Grad-CAM
    expected = module.signed(templates[one.labels[:3]] * one.images[:3])
    torch.testing.assert_close(rows["integrated gradients"], expected, atol=1e-4, rtol=1e-4)


class InPlace(nn.Module):
    """A convolution whose output the next layer overwrites."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)


@pytest.mark.parametrize("network", [InPlace(), SmallCNN(num_classes=3, in_channels=3, width=4)])
def test_every_image_has_a_map_of_its_own_size(network: nn.Module) -> None:
    one = explained(network, classes=3, channels=3)
    found = Saliency(shown=4, classes=2, steps=3).explain(one)
    assert found is not None
    rows = found.pictures[0].data["rows"]
    assert [tuple(each.shape) for each in rows.values()] == [(4, 3, 8, 8)] + [(4, 1, 8, 8)] * 3
    assert list(rows)[-1] == "Grad-CAM"
    assert all(bool(((each >= 0) & (each <= 1)).all()) for each in rows.values())
    assert tuple(found.pictures[1].data["rows"]["visualisation"].shape) == (2, 3, 8, 8)
    assert not any(each.requires_grad for each in network.parameters())


def test_without_captum_the_rest_is_there_and_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, extra: str) -> None:
        raise ToughenError(f"{name} cannot be imported; install it with pip install 'toughen[{extra}]'")

    monkeypatch.setattr(module, "library", missing)
    found = Saliency(steps=2).explain(explained(linear(torch.ones(2, 64))))
    assert found is not None and "pip install 'toughen[analysis]'" in found.sentence
    assert list(found.pictures[0].data["rows"]) == ["image", "gradient towards the label"]
