"""What a model looks like while it is judged, and that it comes back as it was."""

import pytest
import torch
from torch import Tensor, nn

from toughen.models.inference import classes_of, frozen


def small() -> nn.Sequential:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(72, 4))
    network.train()
    network[1].eval()
    network[0].weight.requires_grad_(False)
    return network


def state(network: nn.Module) -> list[tuple[bool, list[bool]]]:
    return [(m.training, [p.requires_grad for p in m.parameters(recurse=False)]) for m in network.modules()]


def test_frozen_holds_still_and_gives_back():
    network = small()
    before = state(network)
    with frozen(network, "cpu") as judged:
        assert judged is network
        assert not any(module.training for module in judged.modules())
        assert not any(parameter.requires_grad for parameter in judged.parameters())
    assert state(network) == before


def test_frozen_gives_back_after_an_error():
    network = small()
    before = state(network)
    precision = torch.get_float32_matmul_precision()
    with pytest.raises(KeyError), frozen(network, "cpu"):
        raise KeyError
    assert state(network) == before
    assert torch.get_float32_matmul_precision() == precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_another_precision_is_judged_in_fp32_on_a_copy(dtype: torch.dtype):
    network = small().to(dtype)
    with frozen(network, "cpu") as judged:
        assert classes_of(judged, torch.zeros(3, 1, 8, 8)).shape == (3,)
        assert {p.dtype for p in judged.parameters()} == {torch.float32}
    assert {p.dtype for p in network.parameters()} == {dtype}


def test_reduced_precision_is_off_inside():
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), frozen(nn.Linear(4, 4), "cpu") as judged:
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
            assert judged(torch.zeros(1, 4)).dtype == torch.float32
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


class Fixed(nn.Module):
    """Gives the same logits for every batch."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits


def test_nan_is_never_a_prediction():
    logits = torch.tensor([[0.0, 1.0], [float("nan"), 1.0], [float("inf"), 0.0], [-float("inf"), 0.0]])
    assert classes_of(Fixed(logits), torch.zeros(4, 1, 1, 1)).tolist() == [1, -1, 0, 1]
