"""Easier steps at first: fewer attack steps, smaller images, a smaller ball. Functions of the run's place alone."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from toughen.attacks import GradientAttack
from toughen.errors import InputError
from toughen.methods import Method
from toughen.numbers import check_number
from toughen.threat import ThreatModel


class GrowingSteps:
    """Attack steps that grow during training: few while the network is still weak, all of them from `until` on.

    With S the steps of the method's own attack and t the share of the epochs that is done, an epoch's attack has
    `min(S, first + floor((S - first) t / until))` steps. The default step size follows the number of steps; one that
    was given is multiplied by S / steps, but only up to that default, so that short attacks reach as far.

    Args:
        first: steps in the first epoch, at least 1.
        until: share of the run after which all are taken.

    >>> [GrowingSteps(first=2, until=0.5).steps(epoch, epochs=8, most=10) for epoch in range(6)]
    [2, 4, 6, 8, 10, 10]
    """

    def __init__(self, first: int = 2, until: float = 0.5) -> None:
        check_number("attack_steps.first", first, least=1, whole=True)
        check_number("attack_steps.until", until, "a share of the run", above=0, most=1)
        self.first = first
        self.until = until

    def steps(self, epoch: int, epochs: int, most: int) -> int:
        """Attack steps in this epoch (from 0) of so many, for an attack of `most`."""
        return min(most, self.first + math.floor((most - self.first) * epoch / (self.until * epochs) + 1e-9))

    def attack(self, attack: GradientAttack, threat: ThreatModel, epoch: int, epochs: int) -> GradientAttack:
        """The method's attack as it is in this epoch; `attack` is not changed."""
        shorter = copy.copy(attack)
        shorter.steps, shorter.step_size = self.steps(epoch, epochs, attack.steps), None
        if attack.step_size is not None:
            scaled = attack.step_size * attack.steps / shorter.steps
            shorter.step_size = max(attack.step_size, min(scaled, shorter.step_size_under(threat)))
        return shorter

    def check(self, method: Method) -> None:
        """Raise unless the method's attack has more steps than the first epoch's.

        Raises:
            InputError: naming the method and its steps.
        """
        attack = getattr(method, "attack", None)
        steps = attack.steps if isinstance(attack, GradientAttack) else 0
        if steps <= self.first:
            raise InputError(
                f"--attack_steps.first {self.first}: expected a method whose attack has more steps in the end, the one "
                f"of {type(method).__name__} has {steps}; leave --attack_steps out, or raise --method.attack.steps"
            )


class GrowingSize:
    """Images that grow during training: an epoch on images of half the side costs a quarter.

    With t the share of the epochs that is done, the sides are `first + (1 - first) floor(stages t / until) / stages` of
    the full ones, at most these, in whole pixels. Images are resized (bilinear, antialiased) after their augmentation,
    on the device. Validation sees full ones. eps stays what it is: below the full size that is a relatively larger ball
    in l2 and l1, and the same in l-inf.

    Args:
        first: sides in the first epoch, as a share of full ones.
        until: share of the run after which they are full.
        stages: number of times that they grow, at least 1.

    >>> [GrowingSize(first=0.5, until=0.5).side(32, epoch, epochs=8) for epoch in range(6)]
    [16, 20, 24, 28, 32, 32]
    """

    def __init__(self, first: float = 0.5, until: float = 0.5, stages: int = 4) -> None:
        check_number("image_size.first", first, "a share of the full side", above=0, below=1)
        check_number("image_size.until", until, "a share of the run", above=0, most=1)
        check_number("image_size.stages", stages, least=1, whole=True)
        self.first = first
        self.until = until
        self.stages = stages

    def side(self, full: int, epoch: int, epochs: int) -> int:
        """Pixels of a side of `full` pixels in this epoch (from 0) of so many."""
        stage = min(self.stages, math.floor(self.stages * epoch / (self.until * epochs) + 1e-9))
        return max(1, round(full * (self.first + (1 - self.first) * stage / self.stages)))

    def resized(self, images: Tensor, epoch: int, epochs: int) -> Tensor:
        """The images as they are in this epoch, N x C x h x w in [0, 1]."""
        size = [self.side(full, epoch, epochs) for full in images.shape[2:]]
        if size == list(images.shape[2:]):
            return images
        return F.interpolate(images, size, mode="bilinear", antialias=True).clamp(0, 1)

    def check(self, method: Method) -> None:
        """Raise for a method that remembers something of every pixel.

        Raises:
            InputError: naming the method.
        """
        if any(getattr(method, name, None) is not None for name in method.memories):
            raise InputError(
                f"--image_size: {type(method).__name__} remembers a perturbation of every image in its full size; "
                "leave --image_size out, or take a method without a memory, such as NFGSM"
            )


class GrowingEps:
    """A ball that grows during training, after epochs on clean images: the task first, robustness then.

    The first `floor(clean epochs)` epochs run no attack: the method's loss is taken with the clean image in the
    adversarial one's place. From there the ball grows linearly, step by step, to eps at the share `until` of the run. A
    step size that was given shrinks with the ball. Validation, the choice of the checkpoint and the evaluation keep to
    the whole eps.

    Sources: Debenedetti et al. 2023 warm eps up linearly, without clean epochs; Ngnawe et al. 2025 (arXiv 2509.23325)
    begin with clean epochs where a network that was trained without an adversary is fine-tuned.

    Args:
        clean: share of the run that is on clean images, in whole epochs.
        until: share of the run after which the ball is whole.

    >>> [GrowingEps(clean=0.25, until=0.75).share(epoch, epochs=8) for epoch in (1, 2, 3, 4.5, 6, 7)]
    [0.0, 0.0, 0.25, 0.625, 1.0, 1.0]
    """

    def __init__(self, clean: float = 0.0, until: float = 0.5) -> None:
        check_number("attack_eps.clean", clean, "a share of the run", least=0, below=1)
        check_number("attack_eps.until", until, "a share of the run", above=0, most=1)
        if until <= clean:
            raise InputError(
                f"attack_eps.until: expected a share of the run above attack_eps.clean, got {until:g} and {clean:g}"
            )
        self.clean = clean
        self.until = until

    def share(self, epoch: float, epochs: int) -> float:
        """Radius of the ball in units of eps, in a step that ends after `epoch` (a fraction within one) of `epochs`."""
        begin, end = self.clean_epochs(epochs), self.until * epochs
        return min(1.0, max(0.0, epoch - begin) / (end - begin)) if epoch < end else 1.0

    def clean_epochs(self, epochs: int) -> int:
        """Number of epochs on clean images, of so many."""
        return math.floor(self.clean * epochs + 1e-9)

    def check(self, method: Method) -> None:
        """Raise for a method without an attack or with several balls, and for clean epochs with one that remembers.

        Raises:
            InputError: naming the method.
        """
        name = type(method).__name__
        if not method.defends:
            raise InputError(f"--attack_eps: {name} attacks nothing; leave --attack_eps out")
        if len(method.threats) > 1:
            raise InputError(f"--attack_eps: {name} has several balls, and only one would grow; leave --attack_eps out")
        if self.clean and any(getattr(method, memory, None) is not None for memory in method.memories):
            raise InputError(
                f"--attack_eps.clean {self.clean:g}: {name} remembers what its attack found for every image, which is "
                "nothing in clean epochs; leave it out, or take a method without a memory, such as NFGSM"
            )


class Growth:
    """The growth of attack steps, image sizes and eps in a run, where it has any.

    Args:
        method: whose attack grows.
        epochs: those of the run.
        steps: growth of the attack's steps; None leaves the method's own.
        size: growth of the images; None leaves full ones.
        eps: growth of the ball; None leaves the whole one.
    """

    def __init__(
        self,
        method: Method,
        epochs: int,
        *,
        steps: GrowingSteps | None = None,
        size: GrowingSize | None = None,
        eps: GrowingEps | None = None,
    ) -> None:
        self.steps, self.size, self.eps, self.epochs = steps, size, eps, epochs
        self.attack: Any = getattr(method, "attack", None)

    def set_attack(self, method: Method, epoch: int) -> None:
        """Give the method this epoch's attack."""
        changed: Any = method
        if self.steps is not None:
            changed.attack = self.steps.attack(self.attack, method.threat, epoch, self.epochs)
        elif self.attack is not None:
            changed.attack = self.attack

    def clean(self, epoch: int) -> bool:
        """Whether the epoch is on clean images."""
        return self.eps is not None and epoch < self.eps.clean_epochs(self.epochs)

    @contextmanager
    def ball(self, method: Method, epoch: float) -> Iterator[None]:
        """Inside, the method attacks within the ball of a step that ends after `epoch` (a fraction within one)."""
        share = 1.0 if self.eps is None else self.eps.share(epoch, self.epochs)
        if share in (0, 1):
            yield
            return
        changed: Any = method
        threat, attack = method.threat, getattr(method, "attack", None)
        method.threat = threat.scaled(share)
        if getattr(attack, "step_size", None) is not None:
            changed.attack = copy.copy(attack)
            changed.attack.step_size *= share
        try:
            yield
        finally:
            method.threat = threat
            if attack is not None:
                changed.attack = attack

    def resized(self, images: Tensor, epoch: int) -> Tensor:
        """The images as they are in this epoch."""
        return images if self.size is None else self.size.resized(images, epoch, self.epochs)

    def kind(self, epoch: int) -> str:
        """Attack steps and image size of the epoch, on which alone the cost of its steps depends."""
        steps = "all" if self.steps is None else self.steps.steps(epoch, self.epochs, self.attack.steps)
        side = 100 if self.size is None else self.size.side(100, epoch, self.epochs)
        return f"steps {'none' if self.clean(epoch) else steps}, side {side} %"
