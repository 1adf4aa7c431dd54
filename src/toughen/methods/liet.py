"""LIET, one attack step from a start whose information about the label is mostly eliminated."""

from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from toughen.analysis.measures.outputs import jensen_shannon
from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.errors import InputError
from toughen.hardware.processes import several_processes
from toughen.losses import cross_entropy
from toughen.methods.guide import class_count
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.methods.prior import initial_of
from toughen.models.mode import buffers_kept
from toughen.models.passes import passes
from toughen.numbers import check_number


def randomly_smoothed(target: Tensor, draws: Tensor, smoothing: float) -> Tensor:
    """`(1 - s) t + s r`, r the draws times `1 - t`, scaled to sum to 1: the share s goes to the others at random.

    Args:
        target: labels (N,), then t is their one-hot vectors, or probabilities t (N, K).
        draws: uniform in [0, 1), N x K.
        smoothing: the share s.

    >>> randomly_smoothed(torch.tensor([1]), torch.tensor([[0.2, 0.9, 0.6]]), 0.4)
    tensor([[0.1000, 0.6000, 0.3000]])
    """
    t = (F.one_hot(target, draws.shape[1]) if target.ndim == 1 else target).to(draws.dtype)
    others = draws * (1 - t)
    return (1 - smoothing) * t + smoothing * others / others.sum(dim=1, keepdim=True).clamp_min(1e-12)


class LIET(Method):
    """LIET (Pan 2025): one attack step from a class' own perturbation with random pixels, sign and labels.

    `min CE(f(x'), t) + lam JS(f(x'), f(x0))` where t keeps `1 - smoothing` on the true class and gives the rest to the
    others at random, anew for every image and loss. `x' = project(x0 + eps sign(g))`, g the gradient of such a
    cross-entropy at x0; `x0 = x + d` or `x - d`, a coin for each batch. d is the class' perturbation
    `eps sign(gradient of CE at a grey image)`, which is found anew every `every` steps; a share of its pixels, uniform
    from `least` to `most` for each batch, is replaced by uniform noise. lam grows epoch by epoch to its whole in the
    last one.

    Source: Pan, Tang, Li, Yao, Mitigating Catastrophic Overfitting in Fast Adversarial Training via Label Information
    Elimination, ICCV 2025, and its code. Published for CIFAR-10, ResNet-18, l-inf ball of 8/255, batch 128, 100 epochs
    of one cycle, EMA of 0.9995: the defaults (80.6 clean, 50.0 AutoAttack, mean of the three seeds in its logs); for
    CIFAR-100 smoothing 0.8 and lam 200; for 16/255 noise 2, not projected, least 0, most 1, smoothing 0.4, lam 20,
    every 10.

    When to use it: as the strongest single-step method of the FastAT benchmark beside NuAT, without a memory.

    Deviations: f(x0) is computed a second time for the loss. The attack sees BatchNorm in eval mode; `attack.mode`
    train is the code's way, whose running statistics move with x0 and x' of the loss. With several processes the grey
    images' gradient is that of all.

    Cost: 3 forward and 3 backward passes a step; standard training has 1 and 1. Every `every` steps one more of each,
    on an image a class.

    Args:
        lam: weight of the divergence in the last epoch, at least 0.
        smoothing: share of a label that goes to the other classes, from 0; with 2 classes below 0.5.
        least: smallest share of replaced pixels, from 0.
        most: largest share of replaced pixels, up to 1.
        noise: radius of the ball that the noise is drawn from in units of eps, above 0.
        projected: whether x' is brought back into the ball; else it goes eps beyond x0.
        every: steps after which the classes' perturbations are found anew, at least 1.
        attack: the step from x0; its own start is not used.
    """

    memories = made_late = ("indicator",)

    weight: Tensor
    """lam as it is in this epoch."""
    indicator: Tensor | None
    """The perturbation of each class."""

    def __init__(
        self,
        lam: float = 100.0,
        smoothing: float = 0.6,
        least: float = 0.1,
        most: float = 0.5,
        noise: float = 1.0,
        projected: bool = True,
        every: int = 20,
        attack: GradientAttack = GradientAttack(steps=1, start="clean"),
    ) -> None:
        super().__init__()
        check_number("method.lam", lam, "a weight", least=0)
        check_number("method.smoothing", smoothing, "a share of the label", least=0, below=1)
        check_number("method.least", least, "a share of the pixels", least=0, most=1)
        check_number("method.most", most, "a share of the pixels", least=least, most=1)
        check_number("method.noise", noise, above=0)
        check_number("method.every", every, "steps", least=1, whole=True)
        self.lam = lam
        self.smoothing = smoothing
        self.least = least
        self.most = most
        self.noise = noise
        self.projected = projected
        self.every = every
        self.attack = of_kind("method.attack", attack, GradientAttack)
        self.register_buffer("weight", torch.tensor(float(lam)))
        self.register_buffer("indicator", None)
        self._classes: int | None = None
        self._steps = 0

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network as it is; counts its classes.

        Raises:
            InputError: the true class would not keep more than each other one has on average.
        """
        self._classes = class_count(model)
        if (1 - self.smoothing) * self._classes <= 1:
            raise InputError(
                f"method.smoothing: expected less than 1 - 1/{self._classes} with {self._classes} classes, so that the "
                f"true class keeps the most, got {self.smoothing}; use --method.smoothing 0.2"
            )
        return model

    def own_smoothing(self) -> str | None:
        """The option that leaves the labels as they are; None where it does."""
        return "--method.smoothing 0" if self.smoothing else None

    def begin_epoch(self, model: nn.Module, epoch: int, first: Batch) -> None:
        """Set the epoch's weight, which stays lam where the run's length is not known, and count steps anew."""
        self._steps = 0
        if self.epochs is not None:
            self.weight.fill_(self.lam * (epoch + 1) / self.epochs)

    def get_extra_state(self) -> Tensor:
        """Steps of the epoch that are done, on the CPU: no buffer, which would have a GPU waited for."""
        return torch.tensor(self._steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the count of steps."""
        self._steps = int(state)

    def softened(self, target: Tensor, classes: int) -> Tensor:
        """The target with its share of random other classes."""
        dtype = target.dtype if target.is_floating_point() else torch.float32
        draws = torch.rand(len(target), classes, generator=self.generator, device=target.device, dtype=dtype)
        return randomly_smoothed(target, draws, self.smoothing)

    def noisy(self, batch: Batch) -> Tensor:
        """The images that the attack starts from."""
        images, indicator = batch.images, self.indicator
        assert indicator is not None  # made by `perturb`
        wide, grey = self.threat.scaled(self.noise), torch.full_like(images, 0.5)
        noise = wide.random_start(grey, self.generator) - grey  # around grey nothing is cut off
        share, coin, pixels = (
            torch.empty(shape, device=images.device).uniform_(generator=self.generator)
            for shape in ((), (), images.shape)
        )
        replaced = pixels < self.least + (self.most - self.least) * share
        delta = torch.where(replaced, noise, indicator[batch.labels].to(images.dtype))
        sign = torch.where(coin < 0.5, -1, 1).to(images.dtype)
        return (wide if self.noise > 1 else self.threat).project(images + sign * delta, images)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images one step up the cross-entropy of random soft labels, and the labels for the loss."""
        if (
            self._steps % self.every == 0
            or self.indicator is None
            or self.indicator.shape[1:] != batch.images.shape[1:]
        ):
            self._indicate(model, batch.images)
        self._steps += 1
        start = self.noisy(batch)
        raised = self.softened(batch.target, self._known_classes)
        # In train mode the published pass is the one of the loss, which moves the statistics.
        with buffers_kept(model) if self.attack.mode == "train" else nullcontext():
            images = self.attack.maximise(
                model,
                lambda logits: cross_entropy(logits, raised),
                batch.images if self.projected else start,
                self.threat,
                self.generator,
                initial=start,
            )
        return Perturbed(images, start, target=self.softened(batch.target, self._known_classes))

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Cross-entropy at the attack's end, and the divergence of its output from that at its start."""
        initial, final = passes(model, initial_of(perturbed), perturbed.images)
        target = batch.target if perturbed.target is None else perturbed.target
        return {
            "adversarial_ce": Term(cross_entropy(final, target)),
            "jensen_shannon": Term(jensen_shannon(final, initial), self.weight),
        }

    @property
    def _known_classes(self) -> int:
        if self._classes is None:
            raise InputError("LIET: how many classes there are is not known; call method.prepare(model)")
        return self._classes

    def _indicate(self, model: nn.Module, like: Tensor) -> None:
        """Find the perturbation of each class at a grey image."""
        grey = like.new_full((self._known_classes, *like.shape[1:]), 0.5)
        target = self.softened(torch.arange(len(grey), device=like.device), len(grey))
        gradients: list[Tensor] = []
        GradientAttack(steps=1, start="clean").maximise(
            model, lambda logits: cross_entropy(logits, target), grey, self.threat, on_gradient=gradients.append
        )
        if several_processes():
            dist.all_reduce(gradients[0])
        self.indicator = self.threat.radius * self.threat.steepest(gradients[0], grey)
