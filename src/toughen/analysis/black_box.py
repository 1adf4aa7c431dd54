"""Is an attacker who sees less also weaker?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from toughen.analysis.explanation import Explained, Explanation, Figure, Insight, Picture, share_of
from toughen.attacks import HopSkipJump, Square, Transfer
from toughen.errors import ToughenError
from toughen.evaluation.statistics.intervals import holm, mcnemar
from toughen.extras import library

IMAGES = 100


class BlackBox(Explanation):
    """Accuracy under attacks that see no gradient, beside the white-box attack at hand.

    Noise sees nothing; a transfer attack other networks, those that are analysed together with this one; HopSkipJump
    the predicted class; Square the logits. With sound gradients none of them breaks more than the attack that sees
    everything: one that does is a sign of masked gradients (Athalye et al. 2018; Carlini et al. 2019). Exact McNemar
    tests on the same images, Holm-corrected, say what is more than chance. ARR's paper compares black-box attacks.

    Args:
        images: how many images the attacks are shown.
        queries: of Square, for each image.
        decisions: of HopSkipJump, for each image; it needs the extra foolbox.
    """

    title = "Black box"
    source = (
        "Adversarial Robustness Regularization (ARR); Andriushchenko et al. 2020 (Square); Chen et al. 2020 "
        "(HopSkipJump); Carlini et al. 2019"
    )

    def __init__(self, images: int = IMAGES, queries: int = 300, decisions: int = 500) -> None:
        self.images, self.queries, self.decisions = images, queries, decisions

    def passes(self, images: int) -> float:
        """A pass a query."""
        return min(images, self.images) * (self.queries + self.decisions + 3.0)

    def explain(self, explained: Explained) -> Insight | None:
        """Accuracy under each, on the same images, in the order of what the attacks see."""
        some = explained.first(self.images)
        held, says, missing = self._held(some)
        figures: dict[str, Figure] = {
            f"accuracy_{name}": share_of(each & held["clean"], says[name], "high") for name, each in held.items()
        }
        blind = [name for name in held if name not in ("clean", "white_box")]
        for name in blind:
            only = held["clean"] & held["white_box"] & ~held[name]
            figures[f"only_{name}"] = share_of(only, f"broken by {name} and not by the gradient attack", "low")
        order = [f"{name} {figures[f'accuracy_{name}'].value:.1%}" for name in held]
        sentence = f"Accuracy: {', '.join(order)}; {_told(held, blind)}.{missing}"
        grid = {
            "values": [[figures[f"accuracy_{name}"].value] for name in held],
            "rows": [name.replace("_", " ", 1) for name in held],
            "columns": ["accuracy"],
            "range": (0, 1),
        }
        sees = "From top to bottom the attacker sees more; with sound gradients no value is below the last."
        arrays = {name: each.tolist() for name, each in held.items()}
        return Insight(sentence, figures, [Picture("grid", "Accuracy by what is seen", sees, grid)], arrays)

    def _held(self, some: Explained) -> tuple[dict[str, Tensor], dict[str, str], str]:
        """Which images are right under each attack, what each is, and a sentence on what is missing."""
        generator = torch.Generator(some.images.device).manual_seed(some.seed)
        shown = {"clean": some.images, "noise": some.threat.random_start(some.images, generator)}
        says = {"clean": "right, clean", "noise": "right under uniform noise"}
        for name, images in some.transferred.items():
            shown[f"transfer_{name}"] = images
            says[f"transfer_{name}"] = f"right on what was crafted on {name}"
        missing = ""
        try:
            library("foolbox", "foolbox")
        except ToughenError as error:
            missing = f" HopSkipJump is left out: {error}."
        else:
            shown["decision"] = _asked(some, HopSkipJump(self.decisions, some.images), generator)
            says["decision"] = f"right after {self.decisions} queries of HopSkipJump"
        shown["square"] = _asked(some, Square(queries=self.queries, lean=True), generator)
        says["square"] = f"right after {self.queries} queries of Square"
        shown["white_box"], says["white_box"] = some.perturbed, "right under the gradient attack"
        return {name: _right(some, each) for name, each in shown.items()}, says, missing


def with_transfers(networks: Sequence[Explained], images: int = IMAGES) -> list[Explained]:
    """Each network with what `Transfer` crafts of the first images on the others of the same threat model."""
    crafted: dict[str, Tensor] = {}
    for each in networks if len(networks) > 1 else ():
        some = each.first(images)
        generator = torch.Generator(some.images.device).manual_seed(some.seed)
        crafted[each.name] = _asked(some, Transfer(some.model, each.name), generator)
    return [
        replace(
            each,
            transferred={
                other.name: crafted[other.name]
                for other in networks
                if other is not each and other.threat == each.threat
            },
        )
        for each in networks
    ]


def _asked(some: Explained, attack: HopSkipJump | Square | Transfer, generator: torch.Generator) -> Tensor:
    return torch.cat([
        attack.run(some.model, images, labels, some.threat, generator).adversarial
        for images, _, labels in some.batches()
    ])  # fmt: skip


def _right(some: Explained, images: Tensor) -> Tensor:
    with torch.no_grad():
        predicted = torch.cat([some.model(part).argmax(1) for part in images.split(some.batch_size)])
    return (predicted == some.labels).cpu()


def _told(held: Mapping[str, Tensor], blind: Sequence[str]) -> str:
    """What the order of the attacks says of the gradients."""
    white = held["clean"] & held["white_box"]
    rivals = {name: held["clean"] & held[name] for name in blind}
    p_values = dict(zip(rivals, holm([mcnemar(white, each) for each in rivals.values()]), strict=True))
    stronger = [name for name, each in rivals.items() if p_values[name] < 0.05 and each.sum() < white.sum()]
    if stronger:
        verb = "breaks" if len(stronger) == 1 else "break"
        return f"{' and '.join(stronger)} {verb} more than the gradient attack, a sign of masked gradients"
    alike = [name for name in blind if p_values[name] >= 0.05]
    if alike:
        return f"{', '.join(alike)} and the gradient attack are not told apart, and nothing breaks more than it"
    return "the gradient attack breaks more than all that see less"
