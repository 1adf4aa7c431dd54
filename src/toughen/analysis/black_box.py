"""Is an attacker who sees less also weaker?"""

import torch

from toughen.analysis.explanation import Explained, Explanation, Figure, Insight, share_of
from toughen.attacks import Square
from toughen.evaluation.statistics.intervals import mcnemar


class BlackBox(Explanation):
    """Accuracy under an attack on the logits alone and under noise, beside the white-box attack at hand.

    With sound gradients the order is clean, noise, Square, white-box. An attack that sees less and breaks more is a
    sign of masked gradients (Athalye et al. 2018; Carlini et al. 2019). ARR's paper compares black-box attacks.

    Args:
        images: how many images Square is shown.
        queries: of Square, for each image.
    """

    title = "Black box"
    source = "Adversarial Robustness Regularization (ARR); Andriushchenko et al. 2020 (Square); Carlini et al. 2019"
    passes = 300.0

    def __init__(self, images: int = 100, queries: int = 300) -> None:
        self.images, self.queries = images, queries

    def explain(self, explained: Explained) -> Insight | None:
        """Accuracy under each, on the same images."""
        some = explained.first(self.images)
        generator = torch.Generator(some.images.device).manual_seed(explained.seed)
        square = Square(queries=self.queries)
        asked = [
            square.run(some.model, images, labels, some.threat, generator).adversarial
            for images, _, labels in some.batches()
        ]
        noisy = some.threat.random_start(some.images, generator)
        shown = {"clean": some.images, "noise": noisy, "square": torch.cat(asked), "white_box": some.perturbed}
        held = {name: _right(some, each) for name, each in shown.items()}
        says = {
            "clean": "right, clean",
            "noise": "right under uniform noise",
            "square": f"right after {self.queries} queries of Square",
            "white_box": "right under the gradient attack",
        }
        figures: dict[str, Figure] = {
            f"accuracy_{name}": share_of(each & held["clean"], says[name], "high") for name, each in held.items()
        }
        only = held["clean"] & held["white_box"] & ~held["square"]
        figures["only_square"] = share_of(only, "broken by Square alone", "low")
        order = [f"{name} {figures[f'accuracy_{name}'].value:.1%}" for name in shown]
        tells = "Square and the gradient attack are not told apart"
        if mcnemar(held["white_box"], held["square"]) < 0.05:
            masked = figures["accuracy_square"].value < figures["accuracy_white_box"].value
            tells = "Square breaks more, a sign of masked gradients" if masked else "what sees more breaks more"
        sentence = f"Accuracy: {', '.join(order)}; {tells}, and {int(only.sum())} images fall to Square alone."
        return Insight(sentence, figures, arrays={name: each.tolist() for name, each in held.items()})


def _right(some: Explained, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        predicted = torch.cat([some.model(part).argmax(1) for part in images.split(some.batch_size)])
    return (predicted == some.labels).cpu()
