"""FGSM-UAP, one attack step from a perturbation that all images of a class share."""

from contextlib import nullcontext
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.contracts import check_choice, of_kind
from toughen.errors import InputError
from toughen.hardware.processes import several_processes
from toughen.losses import cross_entropy, squared_error
from toughen.methods.guide import class_count
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.methods.prior import initial_of
from toughen.models.mode import buffers_kept
from toughen.models.passes import passes
from toughen.numbers import check_number
from toughen.threat import ThreatModel, empty_contiguous_like

Shared = Literal["class", "all"]
"""Whose images share a perturbation: those of a class, or all."""


class FGSMUAP(Method):
    """FGSM-UAP (Pan 2024): one attack step from a universal perturbation, learned along the way, one for each class.

    `min CE(f(x'), y) + lam MSE(f(x'), f(x0))`, `x0 = project(x + u_y)`, `x' = project(x0 + eps sign(g))`, g the
    gradient of the same cross-entropy at x0. After every step the u of each class in the batch moves, with a velocity v
    from 0: `v <- mean of its images' g / |batch's g|_1 + momentum v`, `u <- u + reach eps steepest(v)`, kept in the
    ball of `reach` eps. u starts at a random corner of it.

    Source: Pan, Li, Yao, Adversarial Initialization with Universal Adversarial Perturbation: A New Approach to Fast
    Adversarial Training, AAAI 2024, and its code, where this is FGSM-CUAP, and FGSM-OUAP with `shared` all. Published
    for CIFAR-10, ResNet-18, l-inf ball of 8/255, batch 128, 110 epochs, label smoothing 0.4, average of weights: lam
    10, momentum 0.3, reach 1.25 (80.1 clean, 48.7 AutoAttack at its last epochs, mean of the three seeds in its logs;
    80.8 and 49.5 in the FastAT benchmark).

    When to use it: as FGSM-PGI, without a memory of every image.

    Deviations: the paper's FGSM-UAP, which picks one of 50 perturbations by a small network on the features that Adam
    trains, is not here (49.7 in the benchmark). In the code the loss's backward pass is added to g in place before u
    moves by it (lam times the MSE's gradient at x0); here g is the paper's. f(x0) is computed a second time for the
    loss. The attack sees BatchNorm in eval mode; `attack.mode` train is the code's way, whose running statistics move
    with x0 and x' of the loss. With several processes g is that of all.

    Memory: two perturbations a class, part of the checkpoint.

    Cost: 3 forward and 3 backward passes a step; standard training has 1 and 1.

    Args:
        lam: weight of the MSE of the logits, at least 0.
        momentum: share of a velocity that stays, 0 to below 1.
        reach: radius of the ball of the universal perturbations in units of eps, above 0.
        shared: whose images share a perturbation: those of a class, or all.
        attack: the step from the universal perturbation; its own start is not used.
    """

    memories = made_late = ("universal", "velocity")

    universal: Tensor | None
    velocity: Tensor | None

    def __init__(
        self,
        lam: float = 10.0,
        momentum: float = 0.3,
        reach: float = 1.25,
        shared: Shared = "class",
        attack: GradientAttack = GradientAttack(steps=1, start="clean"),
    ) -> None:
        super().__init__()
        check_number("method.lam", lam, "a weight", least=0)
        check_number("method.momentum", momentum, least=0, below=1)
        check_number("method.reach", reach, above=0)
        check_choice("method.shared", shared, Shared)
        self.lam = lam
        self.momentum = momentum
        self.reach = reach
        self.shared: Shared = shared
        self.attack = of_kind("method.attack", attack, GradientAttack)
        self.register_buffer("universal", None)
        self.register_buffer("velocity", None)
        self._rows: int | None = 1 if shared == "all" else None

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network as it is; counts its classes."""
        if self.shared == "class":
            self._rows = class_count(model)
        return model

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images one step up the cross-entropy from the universal perturbation of their class."""
        images, rows = batch.images, self._row_of(batch)
        universal, _ = self._made(images)
        start = self.threat.project(images + universal[rows].to(images.dtype), images)
        gradients: list[Tensor] = []
        # In train mode the published pass is the one of the loss, which moves the statistics.
        with buffers_kept(model) if self.attack.mode == "train" else nullcontext():
            found = self.attack.maximise(
                model,
                lambda logits: cross_entropy(logits, batch.target),
                images,
                self.threat,
                self.generator,
                initial=start,
                on_gradient=gradients.append,
            )
        return Perturbed(found, start, gradients[0])

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Cross-entropy at the attack's end, and the distance of its output from that at its start."""
        initial, final = passes(model, initial_of(perturbed), perturbed.images)
        return {
            "adversarial_ce": Term(cross_entropy(final, batch.target)),
            "mse": Term(squared_error(final, initial), self.lam),
        }

    def after_loss(self, batch: Batch, perturbed: Perturbed) -> None:
        """Move the universal perturbations of the classes in the batch along the attack's gradients."""
        gradient = perturbed.gradient
        if gradient is None:
            return
        universal, velocity = self._made(gradient)
        rows = self._row_of(batch)
        sums = torch.zeros_like(universal).index_add_(0, rows, gradient.to(universal.dtype))
        counts = torch.zeros(len(universal), device=rows.device).index_add_(0, rows, torch.ones_like(rows).float())
        size = gradient.abs().sum()
        if several_processes():
            for each in (sums, counts, size):
                dist.all_reduce(each)
        seen = counts.view(-1, 1, 1, 1) > 0
        size = size.clamp_min(torch.finfo(size.dtype).tiny)
        moved = sums / counts.clamp_min(1).view(-1, 1, 1, 1).to(sums.dtype) / size + self.momentum * velocity
        velocity.copy_(torch.where(seen, moved, velocity))
        ball = self._ball
        grey = torch.full_like(universal, 0.5)  # of no image's range
        step = ball.radius * ball.steepest(velocity, universal)
        universal.copy_(torch.where(seen, ball.project(grey + universal + step, grey) - grey, universal))

    @property
    def _ball(self) -> ThreatModel:
        return self.threat.scaled(self.reach)

    def _row_of(self, batch: Batch) -> Tensor:
        return batch.labels if self.shared == "class" else torch.zeros_like(batch.labels)

    def _made(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The universal perturbations and their velocities; they begin anew with images of another size."""
        if self.universal is None or self.velocity is None or self.universal.shape[1:] != images.shape[1:]:
            if self._rows is None:
                raise InputError("FGSMUAP: how many classes there are is not known; call method.prepare(model)")
            drawn = empty_contiguous_like(images.new_zeros(self._rows, *images.shape[1:]))
            drawn.normal_(generator=self.generator)
            self.universal = self._ball.radius * self._ball.steepest(drawn, drawn)
            if several_processes():
                dist.broadcast(self.universal, 0)
            self.velocity = torch.zeros_like(self.universal)
        self.universal, self.velocity = self.universal.to(images.device), self.velocity.to(images.device)
        return self.universal, self.velocity
