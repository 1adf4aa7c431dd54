"""The one gradient-ascent loop: every attack and every inner maximum of training goes through it."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from toughen.contracts import check_choice
from toughen.errors import InputError
from toughen.models.fold import exactly
from toughen.models.mode import Mode, attacked
from toughen.numbers import Number, as_float, check_number
from toughen.threat import ThreatModel, empty_contiguous_like

Objective = Callable[[Tensor], Tensor]
"""From logits (N, K) to the value of each image (N,) that the attack raises."""

Start = Literal["uniform", "normal", "clean"]


class GradientAttack:
    """Projected gradient ascent on whatever objective is asked for.

    `x_{t+1} = project(x_t + step_size * steepest(grad objective(model(x_t))))`, in a threat model. Only the images are
    differentiated. The gradient is taken at the projected point, never through the clipping, whose gradient
    vanishes at exactly 0 and 1. The start is projected too: most published code clips to [0, 1] after a step only, and
    takes the first gradient a little outside where a pixel is nearer than eps to black or white.

    Args:
        steps: number of gradient steps, at least 1.
        step_size: length of a step in the threat model's norm; default `2.5 eps / steps`, but never more than eps from
            the clean image or 1.25 eps from a random start.
        start: a uniform point of the ball, the clean image plus 0.001 N(0, 1) (TRADES), or the clean image.
        restarts: number of runs from different starts; each image keeps its best.
        keep_best: keep the best point that each image met, instead of its last one; costs one forward pass more.
        mode: eval: BatchNorm is fixed during the attack; train: it uses, and updates, its batch statistics.
    """

    def __init__(
        self,
        steps: int = 10,
        step_size: Number | None = None,
        start: Start = "uniform",
        restarts: int = 1,
        keep_best: bool = False,
        mode: Mode = "eval",
    ) -> None:
        check_number("attack.steps", steps, least=1, whole=True)
        check_number("attack.restarts", restarts, least=1, whole=True)
        self.steps = steps
        self.step_size = None if step_size is None else as_float(step_size, "attack.step_size")
        if self.step_size is not None and self.step_size <= 0:
            raise InputError(f"attack.step_size: expected a positive number, got {step_size!r}")
        check_choice("attack.start", start, Start)
        check_choice("attack.mode", mode, Mode)
        self.start = start
        self.restarts = restarts
        self.keep_best = keep_best
        self.mode: Mode = mode

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"

    @property
    def starts_near(self) -> bool:
        """Whether it starts at the clean image or within a thousandth of it."""
        return self.start != "uniform"

    def step_size_under(self, threat: ThreatModel) -> float:
        """The step's length in this threat model."""
        if self.step_size is not None:
            return self.step_size
        longest = threat.radius * (1.0 if self.start == "clean" else 1.25)
        return min(2.5 * threat.radius / self.steps, longest)

    def initial(self, images: Tensor, threat: ThreatModel, generator: torch.Generator | None = None) -> Tensor:
        """The images that the ascent starts from."""
        if self.start == "uniform":
            return threat.random_start(images, generator)
        if self.start == "normal":
            noise = empty_contiguous_like(images).normal_(generator=generator)
            return threat.project(images + 0.001 * noise, images)
        return images

    def maximise(
        self,
        model: nn.Module,
        objective: Objective,
        images: Tensor,
        threat: ThreatModel,
        generator: torch.Generator | None = None,
        *,
        initial: Tensor | None = None,
        success: Callable[[Tensor], Tensor] | None = None,
        on_gradient: Callable[[Tensor], None] | None = None,
        vanishing: bool = False,
        first: Tensor | None = None,
    ) -> Tensor:
        """Images of the threat model around `images` for which `objective(model(images))` is high.

        Args:
            model: the attacked network.
            objective: value of each image from its logits; anything fixed should be computed before.
            images: clean images, N x C x H x W in [0, 1].
            threat: the allowed perturbations.
            generator: source of the random start, on the images' device.
            initial: the images to start from instead of `start`'s (first run only).
            success: logits -> bool (N,); where given, the best point of an image is first one of success.
            on_gradient: called with the gradient of every step, the first one at the start.
            vanishing: the objective and its gradient are 0 at `images`, as a KL from the clean output is: where the
                start is next to them (normal, clean), bf16 would round away what the first step climbs, so that
                step is taken in fp32.
            first: the gradient at `initial`, where it is known; not with `keep_best`.

        Returns:
            Tensor: like `images`, without gradient.
        """
        images = images.detach()
        with attacked(model, self.mode), torch.enable_grad():
            best: Best | None = None
            for run in range(self.restarts):
                given = initial is not None and run == 0
                x = initial if initial is not None and given else self.initial(images, threat, generator)
                exact = vanishing and not given and self.starts_near
                begun = first if given else None
                climb = Climb(model, objective, x.detach(), images, threat, success, on_gradient, exact, best, begun)
                best = self._climb(climb)
        assert best is not None  # there is at least one run
        return best.images

    def _climb(self, climb: "Climb") -> "Best":
        model, threat, x, best = climb.model, climb.threat, climb.start, climb.best
        step_size = self.step_size_under(threat)
        for step in range(self.steps):
            if step == 0 and climb.first is not None:
                gradient = climb.first
            else:
                x.requires_grad_(True)
                with exactly(model, x) if climb.exact and step == 0 else nullcontext():
                    logits = model(x)
                    values = climb.objective(logits)
                    (gradient,) = torch.autograd.grad(values.sum(), x)
                x = x.detach()
            if climb.on_gradient is not None:
                climb.on_gradient(gradient)
            if self.keep_best:
                best = _better(best, x, values, logits, climb.success)
            x = threat.project(x + step_size * threat.steepest(gradient, x), climb.center)
        if not self.keep_best and self.restarts == 1:
            return Best(x)
        with torch.no_grad():
            logits = model(x)
            return _better(best, x, climb.objective(logits), logits, climb.success)


class Best:
    """The best images so far, with what they reached."""

    def __init__(self, images: Tensor, values: Tensor | None = None, succeeded: Tensor | None = None) -> None:
        self.images, self.values, self.succeeded = images, values, succeeded


@dataclass(frozen=True)
class Climb:
    """One run of an ascent; see `GradientAttack.maximise`.

    Attributes:
        model: the attacked network.
        objective: value of each image from its logits.
        start: the images that it starts from.
        center: the clean images.
        threat: the allowed perturbations.
        success: logits -> bool (N,), where a best point is first one of success.
        on_gradient: called with the gradient of every step.
        exact: take the first step in fp32.
        best: what earlier runs found.
        first: the gradient at the start, where it is known.
    """

    model: nn.Module
    objective: Objective
    start: Tensor
    center: Tensor
    threat: ThreatModel
    success: Callable[[Tensor], Tensor] | None
    on_gradient: Callable[[Tensor], None] | None
    exact: bool
    best: Best | None
    first: Tensor | None


def _better(
    best: Best | None, x: Tensor, values: Tensor, logits: Tensor, success: Callable[[Tensor], Tensor] | None
) -> Best:
    values = values.detach()
    succeeded = torch.zeros_like(values, dtype=torch.bool) if success is None else success(logits.detach())
    if best is None or best.values is None or best.succeeded is None:
        return Best(x, values, succeeded)
    gained = (succeeded & ~best.succeeded) | ((succeeded == best.succeeded) & (values > best.values))
    chosen = gained.view(-1, *[1] * (x.ndim - 1))
    return Best(
        torch.where(chosen, x, best.images),
        torch.where(gained, values, best.values),
        best.succeeded | succeeded,
    )
