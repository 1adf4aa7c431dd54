"""What the order of attacks says, on networks whose gradients are sound, masked or another's."""

import pytest
import torch
import zoo
from torch import nn

from toughen.analysis import BlackBox, Explained
from toughen.analysis import black_box as module
from toughen.analysis.black_box import with_transfers
from toughen.attacks import PGD
from toughen.errors import ToughenError
from toughen.threat import ThreatModel

EPS = 0.1


def explained(network: nn.Module, name: str = "one", n: int = 80, eps: float = EPS) -> Explained:
    """Images that the network is right on, and PGD's of them."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n, 1, 4, 4, generator=generator)
    network = network.eval().requires_grad_(False)
    labels, threat = network(images).argmax(1), ThreatModel("linf", eps)
    perturbed = PGD(steps=20, loss="margin", keep_best=True)(network, images, labels, threat, generator)
    return Explained(name, network, images, perturbed, labels, ["0", "1"], threat)


def linear(seed: int = 0) -> nn.Module:
    """Whose boundary goes through grey."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        network[1].bias[:] = -0.5 * network[1].weight.sum(1)
    return network


def test_with_sound_gradients_nothing_breaks_more() -> None:
    found = BlackBox().explain(explained(linear()))
    assert found is not None
    values = [found.figures[f"accuracy_{each}"].value for each in ("clean", "decision", "square", "white_box")]
    assert values[0] == 1 and all(values[-1] <= each < 0.5 for each in values[1:])
    assert "nothing breaks more" in found.sentence or "breaks more than all" in found.sentence
    assert [found.figures[f"only_{each}"].value for each in ("noise", "decision", "square")] == [0, 0, 0]


@pytest.mark.parametrize(
    "broken", [lambda network: zoo.Quantised(network, 32), zoo.FalseGradient], ids=["quantised", "false gradient"]
)
def test_masked_gradients_are_told_by_square_and_by_decisions(broken: type[zoo.Around]) -> None:
    found = BlackBox(decisions=800).explain(explained(broken(linear())))
    assert found is not None
    assert "decision and square break more than the gradient attack, a sign of masked gradients" in found.sentence
    assert found.figures["only_decision"].value > 0.1


def test_another_network_s_images_tell_of_masked_gradients_too() -> None:
    """A network, and the same one without a gradient: what is crafted on the first breaks the second."""
    sound, masked, other = linear(), zoo.FalseGradient(linear()), linear(5)
    networks = [explained(sound, "sound"), explained(masked, "masked"), explained(other, "other", eps=EPS / 2)]
    first, second, third = with_transfers(networks)
    assert set(first.transferred) == {"masked"} and set(second.transferred) == {"sound"}
    assert not third.transferred  # of another radius
    found = BlackBox().explain(second)
    assert found is not None and "transfer_sound" in found.sentence.partition(" break")[0]
    # It is the white-box attack on the sound one.
    alone = BlackBox().explain(networks[0])
    assert alone is not None
    white = alone.figures["accuracy_white_box"].value
    assert found.figures["accuracy_transfer_sound"].value == pytest.approx(white, abs=0.03)


def test_without_foolbox_the_decision_based_attack_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, extra: str) -> None:
        raise ToughenError(f"{name} cannot be imported; install it with pip install 'toughen[{extra}]'")

    monkeypatch.setattr(module, "library", missing)
    found = BlackBox().explain(explained(linear()))
    assert found is not None and "accuracy_decision" not in found.figures
    assert "pip install 'toughen[foolbox]'" in found.sentence
