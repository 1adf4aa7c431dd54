"""What the checks before the attacks look at: a model, some of the images, and what both were asked to be."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from toughen.evaluation.preflight.slopes import Slopes, slopes
from toughen.hardware.precision import at_least_fp32
from toughen.models.inference import NO_PREDICTION
from toughen.random_state import seeded
from toughen.threat import ThreatModel

SAMPLE = 128
"""Images that the checks look at: enough to see a difference of ten points, few enough to cost next to nothing."""
_DIFFERENTIATED = 64


@dataclass(frozen=True)
class ModelState:
    """The state in which the caller handed the model over, before it was frozen.

    Attributes:
        modules: how many the model has.
        training: class names of those in train mode, one an entry.
        dtypes: of its floating-point parameters and buffers.
    """

    modules: int
    training: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, model: nn.Module) -> "ModelState":
        """The state of a model now."""
        modules = list(model.modules())
        tensors = (tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point())
        dtypes = dict.fromkeys(tensor.dtype for tensor in tensors)
        return cls(len(modules), tuple(type(module).__name__ for module in modules if module.training), tuple(dtypes))


@dataclass(frozen=True)
class PreflightContext:
    """A model and a sample of the images that it is to be evaluated on.

    Attributes:
        model: frozen: on the images' device, in eval mode, fp32.
        given: the state in which it was handed over.
        images: N x C x H x W in [0, 1], N at most `SAMPLE`.
        labels: int64, (N,).
        evaluated: labels of all images of the evaluation, int64, on the CPU.
        split: labels of all images that these were chosen from, int64, on the CPU.
        classes: names of the classes.
        threat: what the attacker may do.
        batch_size: most images in a pass.
        eot: passes whose mean is attacked; 1 for the model itself.
    """

    model: nn.Module
    given: ModelState
    images: Tensor
    labels: Tensor
    evaluated: Tensor
    split: Tensor
    classes: tuple[str, ...]
    threat: ThreatModel
    batch_size: int
    eot: int = 1

    def __len__(self) -> int:
        return len(self.labels)

    def outputs(self, images: Tensor, seed: int = 0) -> Tensor:
        """What the model gives for images; a random model draws the same for the same seed and shape."""
        with seeded(seed), torch.no_grad():
            return torch.cat([self.model(chunk) for chunk in images.split(self.batch_size)])

    def classified(self, outputs: Tensor) -> Tensor:
        """Whether each image's label has the largest output, bool (N,); False where an output is NaN."""
        return self.predicted(outputs) == self.labels[: len(outputs)]

    def predicted(self, outputs: Tensor) -> Tensor:
        """The classes, int64 (N,); `NO_PREDICTION` where an output is NaN."""
        return torch.where(outputs.isnan().any(dim=1), NO_PREDICTION, outputs.argmax(dim=1))

    @cached_property
    def output(self) -> Tensor:
        """The first pass, as the model gives it, N x K."""
        return self.outputs(self.images)

    @cached_property
    def logits(self) -> Tensor:
        """The first pass in fp32 or better."""
        return at_least_fp32(self.output)

    @cached_property
    def usable(self) -> Tensor:
        """Logits of the images that have no NaN and no infinity, M x K."""
        return self.logits[self.logits.isfinite().all(dim=1)]

    @cached_property
    def spread(self) -> float:
        """Distance of the largest finite logit from the smallest: the scale that differences are held against."""
        return float(self.usable.max() - self.usable.min()) if self.usable.numel() else 0.0

    @cached_property
    def again(self) -> Tensor:
        """A second pass, with other random numbers."""
        return at_least_fp32(self.outputs(self.images, seed=1))

    @cached_property
    def random(self) -> bool:
        """Whether two passes differ by more than rounding."""
        return differ(self.logits, self.again, 1e-4 * self.spread)

    @cached_property
    def repeatable(self) -> bool:
        """Whether a pass with the same seed gives the same, as it does where all random numbers are torch's."""
        return not self.random or not differ(self.logits, at_least_fp32(self.outputs(self.images)), 1e-4 * self.spread)

    @cached_property
    def slopes(self) -> Slopes:
        """What gradients the attacks will see, for some of the images."""
        with seeded(0):
            return slopes(self.model, self.images[:_DIFFERENTIATED], self.labels[:_DIFFERENTIATED], self.batch_size)


def differ(first: Tensor, second: Tensor, tolerance: float) -> bool:
    """Whether two sets of logits differ by more than the tolerance anywhere; NaN equals NaN."""
    return not torch.allclose(first, second, rtol=0.0, atol=tolerance, equal_nan=True)
