"""APGD's ascent for training: momentum, and steps that shrink where they gain nothing."""

import torch
from torch import Tensor, nn

from toughen.attacks.gradient import Best, Climb, GradientAttack, Objective
from toughen.hardware.precision import at_least_fp32
from toughen.l1_ball import per_image
from toughen.threat import ThreatModel


class AdaptivePGD(GradientAttack):
    """APGD's ascent (Croce & Hein 2020, 2021) for training: from the clean image, each image keeps its best point.

    l-inf and l2: steps of 2 eps at first, three quarters of each and a quarter of the last move. At checkpoints (after
    22 % of the steps, then ever more often) an image whose loss rose in at most three quarters of the steps since, or
    whose best stayed the same at unchanged step size, halves its steps and goes on from its best point. l1: every
    4 % of the steps, at least every step, the share of pixels that move is that of its best perturbation's changed
    pixels over 1.5; steps of eps at first shrink by 1.5, to eps / 10 at least, and start anew from the best point where
    fewer pixels than 95 % of the last time's are changed.

    Source: `apgd_train` in the code of Croce & Hein, Adversarial Robustness against Multiple and Single lp-Threat
    Models via Quick Fine-Tuning of Robust Classifiers, ICML 2022.

    Args:
        steps: number of gradient steps, at least 1.
    """

    def __init__(self, steps: int = 10) -> None:
        super().__init__(steps=steps, start="clean", keep_best=True)

    def _climb(self, climb: Climb) -> Best:
        model, objective, x, center, threat = climb.model, climb.objective, climb.start, climb.center, climb.threat
        pace = (_Sparse if threat.norm == "l1" else _Halving)(self.steps, center, threat)
        values, gradient = _gradient(model, objective, x)
        found, found_values, found_gradient, before = x, values, gradient, x
        for step in range(self.steps):
            momentum, before = x - before, x
            x = threat.project(x + pace.move(gradient), center)
            if pace.momentum and step:
                x = threat.project(before + (1 - pace.momentum) * (x - before) + pace.momentum * momentum, center)
            last = step + 1 == self.steps
            values, gradient = _gradient(model, objective, x, needed=not last)
            gained = values > found_values
            found_values = torch.where(gained, values, found_values)
            found, found_gradient = _where(gained, x, found), _where(gained, gradient, found_gradient)
            if not last:
                again = pace.adapt(values, found_values, found - center)
                x, gradient = _where(again, found, x), _where(again, found_gradient, gradient)
        return Best(found)


def _gradient(model: nn.Module, objective: Objective, x: Tensor, needed: bool = True) -> tuple[Tensor, Tensor]:
    """The value of each image and its gradient, which is 0 where it is not needed."""
    x = x.detach().requires_grad_(needed)
    with torch.set_grad_enabled(needed):
        values = objective(model(x))
    gradient = torch.autograd.grad(values.sum(), x)[0] if needed else torch.zeros_like(x)
    return values.detach(), gradient


def _where(chosen: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return torch.where(per_image(chosen, first), first, second)


class _Halving:
    """Step sizes of l-inf and l2."""

    momentum = 0.25

    def __init__(self, steps: int, center: Tensor, threat: ThreatModel) -> None:
        self.threat = threat
        self.size = center.new_full((len(center),), 2 * threat.radius)
        self.period, self.least, self.shrinks = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
        self.since, self.rises = 0, torch.zeros_like(self.size)
        self.values = self.best = torch.zeros_like(self.size)
        self.reduced = torch.ones_like(self.size, dtype=torch.bool)

    def move(self, gradient: Tensor) -> Tensor:
        return per_image(self.size, gradient) * self.threat.steepest(gradient, gradient)

    def adapt(self, values: Tensor, best: Tensor, perturbation: Tensor) -> Tensor:
        """Which images go on from their best point."""
        self.rises += values > self.values
        self.since, self.values = self.since + 1, values
        if self.since < self.period:
            return torch.zeros_like(self.reduced)
        stuck = (self.rises <= 0.75 * self.period) | (~self.reduced & (self.best >= best))
        self.size = torch.where(stuck, self.size / 2, self.size)
        self.reduced, self.best = stuck, best
        self.since, self.rises = 0, torch.zeros_like(self.rises)
        self.period = max(self.period - self.shrinks, self.least)
        return stuck


class _Sparse:
    """Step sizes of l1, and the share of pixels that move."""

    momentum = 0.0

    def __init__(self, steps: int, center: Tensor, threat: ThreatModel) -> None:
        self.radius, self.pixels = threat.radius, center[0].numel() if len(center) else 1
        self.size = center.new_full((len(center),), threat.radius)
        self.share = torch.full_like(self.size, 0.05)
        self.changed = torch.full_like(self.size, self.pixels)
        self.period, self.since = max(int(0.04 * steps), 1), 0

    def move(self, gradient: Tensor) -> Tensor:
        magnitude = at_least_fp32(gradient).abs().flatten(1)
        place = ((1 - self.share) * self.pixels).clamp(0, self.pixels - 1).long()
        least = magnitude.sort(dim=1).values.gather(1, place[:, None])
        sign = torch.where(magnitude >= least, at_least_fp32(gradient).flatten(1).sign(), 0.0)
        step = self.size[:, None] * sign / (sign.abs().sum(dim=1, keepdim=True) + 1e-10)
        return step.view_as(gradient).to(gradient.dtype)

    def adapt(self, values: Tensor, best: Tensor, perturbation: Tensor) -> Tensor:
        """Which images go on from their best point."""
        self.since += 1
        if self.since % self.period:
            return torch.zeros_like(self.size, dtype=torch.bool)
        changed = (perturbation != 0).flatten(1).sum(dim=1).to(self.size.dtype)
        fewer = changed / self.changed < 0.95
        self.share, self.changed = changed / self.pixels / 1.5, changed
        self.size = torch.where(fewer, self.radius, self.size / 1.5).clamp(self.radius / 10, self.radius)
        return fewer
