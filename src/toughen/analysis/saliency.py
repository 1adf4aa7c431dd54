"""What does the network look at, and what does a class look like to it?"""

import math
from functools import partial

import torch
from torch import Tensor, nn

from toughen.analysis.explanation import Explained, Explanation, Insight, Picture, interval_text, mean_of
from toughen.analysis.measures.saliency import alignment, correlation, gini
from toughen.analysis.measures.surface import input_gradient
from toughen.attacks import GradientAttack
from toughen.errors import ToughenError
from toughen.extras import library
from toughen.losses import cross_entropy
from toughen.threat import ThreatModel

NOISE = 0.1
"""Standard deviation of the noise around grey that a class visualisation starts from."""


class Saliency(Explanation):
    """Gradients at the image and attributions of the same images, and what a class looks like from noise.

    Tsipras et al. find the loss' gradient of robust networks to show the object; here its sparsity and its alignment
    with the image are measured. Integrated gradients (Sundararajan et al. 2017, from black) and Grad-CAM (Selvaraju et
    al. 2017, of the last convolution) are Captum's. A class visualisation raises the class' probability from noise by
    gradient ascent in an l2 ball (Santurkar et al. 2019); how it correlates with the mean image of its class less the
    mean of all is a definition of this project. ARR's paper argues by interpretable features.

    Args:
        shown: of how many images attributions are shown.
        classes: how many classes are visualised, the first ones.
        steps: of a visualisation.
        spread: radius of its ball, as the root mean square change of a pixel.
    """

    title = "What it looks at"
    source = (
        "Adversarial Robustness Regularization (ARR); Tsipras et al. 2019; Etmann et al. 2019 (alignment); "
        "Chalasani et al. 2020 (sparsity); Santurkar et al. 2019 (class visualisations)"
    )

    def __init__(self, shown: int = 8, classes: int = 10, steps: int = 60, spread: float = 0.25) -> None:
        self.shown, self.classes, self.steps, self.spread = shown, classes, steps, spread

    def passes(self, images: int) -> float:
        """Two gradients an image, 32 points of each path, and the visualisations."""
        return 6.0 * images + self.shown * 32 * 3 + self.classes * self.steps * 3

    def explain(self, explained: Explained) -> Insight | None:
        """Figures over all images, attributions of the first ones, and the visualisations."""
        parts = [_gradients(explained.model, images, labels) for images, _, labels in explained.batches()]
        loss, predicted = (torch.cat(each) for each in zip(*parts, strict=True))
        aligned = alignment(explained.images.cpu(), predicted)
        sparse = gini(loss)
        seen = self._visualised(explained)
        likeness = _likeness(explained, seen)
        figures = {
            "alignment": mean_of(aligned, "alignment of image and gradient of the predicted logit, 0 to 1", "high"),
            "sparsity": mean_of(sparse, "Gini index of the loss' gradient at the image, 0 to 1", "high"),
            "class_likeness": mean_of(
                likeness, "correlation of visualisation and mean image, over classes", "high", over="classes"
            ),
        }
        some = explained.first(self.shown)
        rows = {"image": some.images.cpu(), "gradient towards the label": signed(-loss[: self.shown])}
        missing = ""
        try:
            rows |= _by_captum(some)
        except ToughenError as error:
            missing = f" Integrated gradients and Grad-CAM are left out: {error}."
        sentence = (
            f"Image and gradient are aligned by {interval_text(figures['alignment'])}; what looks like a class to the "
            f"network correlates with the class' mean image by {interval_text(figures['class_likeness'])}.{missing}"
        )
        pictures = [
            Picture(
                "images",
                "Attributions",
                "Brightened, a bright pixel speaks for the label, a dark one against it; grey says nothing.",
                {"rows": rows},
            ),
            Picture(
                "images",
                "Class visualisations",
                f"From the same noise, each of {', '.join(explained.classes[: len(seen)])} as the network sees it.",
                {"rows": {"visualisation": seen}},
            ),
        ]
        return Insight(sentence, figures, pictures, {"alignment": aligned.tolist(), "sparsity": sparse.tolist()})

    def _visualised(self, explained: Explained) -> Tensor:
        """An image of each class, K x C x H x W, on the CPU."""
        one = explained.images[:1]
        targets = torch.arange(min(self.classes, len(explained.classes)), device=one.device)
        noise = 0.5 + NOISE * torch.randn(one.shape, generator=explained.generator())
        start = noise.clamp(0, 1).to(one).expand(len(targets), *one.shape[1:])
        ball = ThreatModel("l2", self.spread * math.sqrt(one.numel()))
        attack = GradientAttack(steps=self.steps, start="clean")
        return attack.maximise(explained.model, lambda logits: -cross_entropy(logits, targets), start, ball).cpu()


def signed(maps: Tensor) -> Tensor:
    """Maps with signs as grey images, N x 1 x H x W: the sum over the channels, 1/2 where it is 0."""
    summed = maps.sum(dim=1, keepdim=True)
    largest = summed.abs().flatten(1).quantile(0.99, dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
    return (0.5 + summed / largest / 2).clamp(0, 1)


def _gradients(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the loss and of the predicted logit at the images, like the images, on the CPU."""
    loss = input_gradient(lambda x: cross_entropy(model(x), labels), images)[1]
    logit = input_gradient(lambda x: model(x).amax(dim=1), images)[1]
    return loss.cpu(), logit.cpu()


def _likeness(explained: Explained, seen: Tensor) -> Tensor:
    """Of each visualised class, (K,); not a number for a class without an image."""
    images, labels = explained.images.cpu(), explained.labels.cpu()
    means = torch.stack([images[labels == label].mean(dim=0) for label in range(len(seen))])
    return correlation(seen, means - images.mean(dim=0))


def _by_captum(some: Explained) -> dict[str, Tensor]:
    """Integrated gradients and, where there is a convolution, Grad-CAM, as grey images.

    Raises:
        ToughenError: Captum is not installed.
    """
    captum = library("captum.attr", "analysis")
    paths = captum.IntegratedGradients(some.model)
    attribute = partial(paths.attribute, target=some.labels, n_steps=32, internal_batch_size=some.batch_size)
    rows = {"integrated gradients": signed(attribute(some.images).detach().float().cpu())}
    layers = [module for module in some.model.modules() if isinstance(module, nn.Conv2d)]
    if layers:
        with torch.enable_grad():
            cam = captum.LayerGradCam(some.model, layers[-1]).attribute(some.images, target=some.labels)
        cam = captum.LayerAttribution.interpolate(cam.detach(), tuple(some.images.shape[2:]), "bilinear")
        rows["Grad-CAM"] = signed(cam.float().cpu())
    return rows
