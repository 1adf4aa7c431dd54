"""A network beside its guide: gradients that are known, and the guides that methods have."""

from pathlib import Path

import pytest
import torch
from torch import nn

from toughen.analysis import Distillation, Explained, Training
from toughen.methods import D2R, HAT, LBGAT, TRADES
from toughen.models import SmallCNN
from toughen.threat import ThreatModel


class Scaled(nn.Module):
    """Two logits, `a (x . 1)` and 0."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        z = self.a * (images - 0.5).flatten(1).sum(1)
        return torch.stack([z, torch.zeros_like(z)], dim=1)


def beside(network: nn.Module, guide: nn.Module) -> Explained:
    images = 0.7 + 0.2 * torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(40, dtype=torch.int64)
    model = network.eval().requires_grad_(False)
    training = Training(network, TRADES(), [], {"guide": guide})
    return Explained("one", model, images, images, labels, ["0", "1"], ThreatModel("linf", 0.1), training=training)


@pytest.mark.parametrize(("guide", "cosine"), [(3.0, 1.0), (-3.0, -1.0), (0.2, -1.0)])
def test_label_and_guide_pull_a_single_weight_the_same_way_or_not(guide: float, cosine: float) -> None:
    """All labels say: raise a. A guide of larger a says so too, one of a smaller or negative a lowers it."""
    explained = beside(Scaled(1.0), Scaled(guide))
    found = Distillation().explain(explained)
    assert found is not None
    assert found.figures["cosine_weights"].value == pytest.approx(cosine)
    assert found.figures["conflicting"].value == (cosine < 0)
    # At an image the loss of the one falls where that of the other does, unless their signs differ.
    assert found.figures["cosine_inputs"].value == pytest.approx(1.0 if guide > 0 else -1.0)
    assert not any(weight.requires_grad for weight in explained.model.parameters())


def test_every_method_with_a_guide_shows_it(tmp_path: Path) -> None:
    network = SmallCNN(num_classes=3, in_channels=1, width=4)
    for method in (LBGAT(), D2R()):
        with pytest.raises(Exception, match="no guide yet"):
            method.guides()
        method.prepare(network)
        assert list(method.guides()) == ["guide"] and not method.auxiliary_networks()
    assert HAT().guides() == {} == TRADES().guides()
