"""Our inner maxima against the same attacks of torchattacks and of the Adversarial Robustness Toolbox.

    pip install --target peers --no-deps torchattacks adversarial-robustness-toolbox
    pip install --target peers six requests tqdm
    PYTHONPATH=peers python benchmarks/peers.py

Measures: seconds of an attack of ten steps on one batch, and the mean loss that it reaches, on the same ResNet-18 and
images (l-inf 8/255, steps of 2/255), theirs and ours in turn within one run. PGD climbs the cross-entropy from a
uniform start, TPGD the KL from the clean output. Ours is what training uses: the network's folded replica in
channels-last, fp32, its making and refreshing included. The network has been trained for a few steps on noisy
prototypes, so that there is a loss to climb. A peer that is not installed is left out, with a word on stderr.
Targets: the loss of the peer to 1 %, sooner. Writes peers.json.
"""

import argparse
import importlib
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from common import Figure, Timing, alternate, clock_for, finish, ratio, seconds_of
from toughen.attacks import PGD, GradientAttack
from toughen.losses import cross_entropy, kl, kl_to
from toughen.models import ResNet18, build_model
from toughen.models.fold import fold
from toughen.threat import ThreatModel

EPS, STEP_SIZE, STEPS = 8 / 255, 2 / 255, 10
THREAT = ThreatModel("linf", "8/255")

Attack = Callable[[], Tensor]


def prepared(width: int, batch: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network that knows noisy prototypes of ten classes fairly well, and a batch of them."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = build_model(partial(ResNet18, width=width), num_classes=10, in_channels=3, mean=[0.5] * 3, std=[0.25] * 3)
    prototypes = torch.rand(10, 3, 32, 32, generator=generator)

    def draw() -> tuple[Tensor, Tensor]:
        labels = torch.randint(0, 10, (batch,), generator=generator)
        noise = torch.rand(batch, 3, 32, 32, generator=generator)
        return 0.1 * prototypes[labels] + 0.9 * noise, labels

    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for _ in range(20):
        images, labels = draw()
        optimizer.zero_grad()
        cross_entropy(model(images), labels).mean().backward()
        optimizer.step()
    return model.eval(), *draw()


def ours(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Attack]:
    """PGD and TPGD as a run's inner maximum.

    TPGD begins where theirs does: what it reaches depends on its start, where the KL and its gradient are almost zero.
    """
    plain = images
    model = model.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    replica = fold(model, images[:2], torch.float32)
    assert replica is not None

    def pgd() -> Tensor:
        return PGD(STEPS, STEP_SIZE)(replica.refresh(), images, labels, THREAT)

    def tpgd() -> Tensor:
        with torch.no_grad():
            clean = replica.refresh()(images)
        start = (plain + 0.001 * torch.randn_like(plain)).contiguous(memory_format=torch.channels_last)
        return GradientAttack(STEPS, STEP_SIZE).maximise(replica, kl_to(clean), images, THREAT, initial=start)

    return {"PGD": pgd, "TPGD": tpgd}


def of_torchattacks(library: Any, model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Attack]:
    """Theirs, as documented."""
    settings = {"eps": EPS, "alpha": STEP_SIZE, "steps": STEPS}
    return {name: partial(getattr(library, name)(model, **settings), images, labels) for name in ("PGD", "TPGD")}


def of_art(library: Any, model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Attack]:
    """Theirs, as documented; it has no TPGD."""
    estimators = importlib.import_module("art.estimators.classification")
    evasion = importlib.import_module("art.attacks.evasion")
    classifier = estimators.PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (3, 32, 32), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    attack = evasion.ProjectedGradientDescent(
        classifier,
        eps=EPS,
        eps_step=STEP_SIZE,
        max_iter=STEPS,
        num_random_init=1,
        batch_size=len(images),
        verbose=False,
    )
    x, y = images.numpy(), labels.numpy()
    return {"PGD": lambda: torch.from_numpy(attack.generate(x, y))}


PEERS = {"torchattacks": ("torchattacks", of_torchattacks), "art": ("art", of_art)}


def reached(model: nn.Module, name: str, images: Tensor, labels: Tensor, attack: Attack) -> float:
    """The loss at the adversarial images, which are checked, as a mean over the images and five seeds."""
    losses = []
    for seed in range(5):
        torch.manual_seed(seed)
        adversarial = attack()
        THREAT.check(adversarial, images)
        with torch.no_grad():
            logits = model(adversarial)
            loss = cross_entropy(logits, labels) if name == "PGD" else kl(model(images), logits)
        losses.append(loss.mean().item())
    return statistics.mean(losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = clock_for(given.threads)
    model, images, labels = prepared(given.width, given.batch)
    fast = ours(prepared(given.width, given.batch)[0], images, labels)
    rows, figures = [], []
    for peer, (module, attacks_of) in PEERS.items():
        try:
            library = importlib.import_module(module)
        except ImportError:
            print(f"{peer} is not installed; see --help", file=sys.stderr)
            continue
        for name, theirs in attacks_of(library, model, images, labels).items():
            sides = {"theirs": theirs, "ours": fast[name]}
            timed = {side: partial(seconds_of, attack, clock) for side, attack in sides.items()}
            timings: dict[str, Timing] = alternate(timed, given.repetitions, warmup=2)
            losses = {side: reached(model, name, images, labels, attack) for side, attack in sides.items()}
            facts = {"peer": peer, "version": getattr(library, "__version__", "?"), "attack": name, "clock": clock}
            rows.append({**facts, "seconds": {side: t.data() for side, t in timings.items()}, "loss": losses})
            value, spread = ratio(timings["theirs"], timings["ours"])
            figures.append(Figure(f"peers/{peer}/{name}/time", value, 1.0, spread))
            figures.append(Figure(f"peers/{peer}/{name}/loss", losses["ours"] / losses["theirs"], 0.99))
    finish("peers.py", vars(given), rows, figures)


if __name__ == "__main__":
    main()
