"""Does bf16 weaken an inner maximum?

    python benchmarks/bf16_attacks.py                             # minutes on one core

Every method attacks a small network, trained on noisy digits, in fp32, and in bf16 through the fast copy (`replica`)
and under autocast. What the method's own objective gains over the clean images is computed in fp32 for both; the figure
is the share of fp32's gain that bf16 reaches, over 1,280 training images. Target: 99.5 %. Beside it, for information,
the same with every step in bf16: methods that climb a KL from next to the clean image take their first step in fp32
(D2R, and all under autocast) or by what changes in the logits, since the KL there is smaller than bf16's rounding.
Writes bf16_attacks.json.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import PropertyMock, patch

import torch
from torch import Tensor, nn

from common import Figure, finish
from toughen.attacks import GradientAttack, attacked
from toughen.batch import Batch
from toughen.data import Digits
from toughen.losses import cross_entropy, kl_to
from toughen.methods import (
    ALP,
    ARAT,
    ARR,
    D2R,
    DAJAT,
    EAT,
    FGSMPGI,
    FGSMPGK,
    FGSMRS,
    FGSMUAP,
    GAIRAT,
    GAT,
    HAT,
    IKL,
    LBGAT,
    LIET,
    LTD,
    MART,
    NFGSM,
    OAAT,
    PGDAT,
    SCORE,
    TRADES,
    VAT,
    ARoW,
    GradAlign,
    Method,
    NuAT,
    RegMix,
)
from toughen.methods.guide import fresh_copy
from toughen.methods.helped import Helped
from toughen.models import SmallCNN, build_model
from toughen.models.fold import fold
from toughen.models.linearised import may_linearise
from toughen.models.mode import buffers_kept
from toughen.models.split_batchnorm import branch

Form = Literal["fp32", "replica", "autocast"]
FORMS: tuple[Form, ...] = ("replica", "autocast")
KL = ("TRADES", "HAT", "LBGAT", "LTD", "IKL", "DAJAT", "D2R", "ARoW")
"""Methods whose attack climbs a KL."""
THREAT = Digits.threat
SIZE = 320
"""Images of an attack."""


class AnyHelper(Helped):
    """A method with a helper that needs no run: its attack does not look at it."""

    def prepare(self, model: nn.Module) -> nn.Module:
        self.helper = fresh_copy(model).requires_grad_(False).eval()
        return model


class HATWithAnyHelper(AnyHelper, HAT):
    """HAT so."""


class LTDWithAnyHelper(AnyHelper, LTD):
    """LTD so."""


METHODS: dict[str, Callable[[], Method]] = {
    "ALP": ALP,
    "ARAT": ARAT,
    "ARR": ARR,
    "ARoW": ARoW,
    "ARoW, normal start": lambda: ARoW(attack=GradientAttack(start="normal")),
    "D2R": D2R,
    "D2R, gradient guide": lambda: D2R(gradient="guide"),
    "D2R, gradient mixture": lambda: D2R(gradient="mixture"),
    "DAJAT": lambda: DAJAT(views=0),
    "EAT": EAT,
    "FGSMPGI": FGSMPGI,
    "FGSMPGK": FGSMPGK,
    "FGSMRS": FGSMRS,
    "FGSMUAP": FGSMUAP,
    "GAIRAT": GAIRAT,
    "GAT": GAT,
    "GradAlign": GradAlign,
    "HAT": HATWithAnyHelper,
    "IKL": IKL,
    "IKL, inner ikl": lambda: IKL(inner="ikl"),
    "LBGAT": LBGAT,
    "LBGAT, inner ce": lambda: LBGAT(inner="ce"),
    "LIET": LIET,
    "LTD": LTDWithAnyHelper,
    "MART": MART,
    "NFGSM": NFGSM,
    "NuAT": NuAT,
    "OAAT": OAAT,
    "PGDAT": PGDAT,
    "RegMix": RegMix,
    "SCORE": SCORE,
    "TRADES": TRADES,
    "VAT": VAT,
}


def digits(first: int = 0) -> Batch:
    """`SIZE` training images from the given one on."""
    images, labels = Digits().load("train").subset(torch.arange(first, first + SIZE))
    return Batch(images.float() / 255, labels, indices=torch.arange(SIZE))


def network() -> nn.Module:
    return build_model(partial(SmallCNN, width=8), num_classes=10, in_channels=1, mean=[0.3], std=[0.4])


def weights(batch: Batch, steps: int = 80) -> dict[str, Tensor]:
    """Of a network after a few steps on images with uniform noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
        for step in range(steps):
            x, y = (tensor.roll(-64 * step, 0)[:64] for tensor in (batch.images, batch.labels))
            optimizer.zero_grad()
            cross_entropy(model.train()(THREAT.random_start(x)), y).mean().backward()
            optimizer.step()
    return model.state_dict()


class Attack:
    """A method's inner maximum on a trained network.

    Args:
        make: the method.
        trained: the network's weights; a guide's are these too, 2 % larger.
        batch: the images.
        form: fp32; or bf16 through a replica, or under autocast.

    Attributes:
        images: what it found.
    """

    def __init__(self, make: Callable[[], Method], trained: dict[str, Tensor], batch: Batch, form: Form) -> None:
        self.method = make().under(THREAT, torch.Generator().manual_seed(0))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = network()
            self.model.load_state_dict(trained)
            self.method.allocate_memory(len(batch), tuple(batch.images.shape[1:]))
            self.model = self.method.prepare(self.model)
        guide = getattr(self.method, "guide_network", None)
        if guide is not None:
            guide.load_state_dict({name: 1.02 * tensor for name, tensor in trained.items()})
        self.method.begin_epoch(self.model, 0, batch)
        climbed = self._attacked(batch, form)
        precision = torch.autocast("cpu", torch.bfloat16) if form != "fp32" else nullcontext()
        with patch.object(GradientAttack, "maximise", self._watched(GradientAttack.maximise)), precision:
            self.images = self.method.perturb(climbed, batch).images
        if isinstance(self.method, VAT):
            self.climbed, self.objective = self.model, kl_to(self.model.eval()(batch.images))

    def _attacked(self, batch: Batch, form: Form) -> nn.Module:
        if form != "replica" or not self.method.attacks_outputs:
            return self.model
        replica = fold(self.model, batch.images[:2], torch.bfloat16)
        assert replica is not None
        replica.exact = fold(self.model, batch.images[:2], torch.float32)
        replica.linearises = may_linearise(replica, batch.images[:2])
        return replica

    def _watched(self, maximise: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def watched(
            ascent: GradientAttack, climbed: nn.Module, objective: Callable[[Tensor], Tensor], *a: Any, **k: Any
        ) -> Tensor:
            self.climbed, self.objective = climbed, objective
            return maximise(ascent, climbed, objective, *a, **k)

        return watched

    def worth(self, images: Tensor) -> Tensor:
        """What the objective that was climbed is worth on each of these images."""
        mode = self.method.attack.mode if hasattr(self.method, "attack") else "eval"
        on = branch(self.model, "adversarial") if isinstance(self.method, ARAT) else nullcontext()
        with torch.no_grad(), on, buffers_kept(self.climbed), attacked(self.climbed, mode):
            return self.objective(self.climbed(images))


def gains(exact: Attack, found: Attack, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of each image, what the method's objective gains in fp32 and in bf16; both judged by the former."""
    clean, possible, reached = (exact.worth(images) for images in (batch.images, exact.images, found.images))
    return possible - clean, reached - clean


def measure(name: str, trained: dict[str, Tensor], batches: list[Batch]) -> dict[str, dict[str, float]]:
    """Of fp32's gain over all images, the share that bf16 reaches: as it is, and with every step in bf16."""
    make = METHODS[name]
    exact = [Attack(make, trained, batch, "fp32") for batch in batches]

    def share(form: Form) -> float:
        found = [Attack(make, trained, batch, form) for batch in batches]
        pairs = [gains(*each) for each in zip(exact, found, batches, strict=True)]
        possible, reached = (torch.cat(parts).sum() for parts in zip(*pairs, strict=True))
        return float(reached / possible)

    shares = {}
    for form in FORMS:
        shares[form] = {"share": share(form)}
        if name.partition(",")[0] in KL and (attack := getattr(exact[0].method, "attack", None)) and attack.starts_near:
            with patch.object(GradientAttack, "starts_near", PropertyMock(return_value=False)):
                shares[form]["every step in bf16"] = share(form)
    return shares


def main() -> int:
    """Measure, write the JSON, print a line a method and form."""
    batches = [digits(SIZE * place) for place in range(4)]
    trained = weights(batches[0])
    rows, figures = [], []
    for name in METHODS:
        for form, shares in measure(name, trained, batches).items():
            rows.append({"method": name, "form": form, **shares})
            figures.append(Figure(f"{name}, {form}: bf16's gain over fp32's", 100 * shares["share"], 99.5, unit=" %"))
            print(rows[-1], file=sys.stderr, flush=True)
    finish(Path(__file__).name, {"threads": torch.get_num_threads(), "images": 4 * SIZE}, rows, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
