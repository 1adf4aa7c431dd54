"""A memory of every training image, for methods whose attack starts where the last one on that image led."""

from abc import ABC
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.attacks.gradient import Objective
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.hardware.processes import of_all_processes, several_processes
from toughen.methods.method import Method, Perturbed
from toughen.models.mode import buffers_kept
from toughen.numbers import check_number
from toughen.threat import empty_contiguous_like

LARGEST_HALF = 60000.0
"""What velocities are clipped to before they are kept as fp16, whose largest number is 65504."""


class PriorGuided(Method, ABC):
    """A method that remembers a perturbation d and a velocity v of every training image (Jia et al. 2022).

    An attack on x starts from `x + d` and finds the gradient g there. Then, s being the attack's step size,

        v <- w g / mean |g| + momentum v        d <- project(d + s steepest(v))

    where w is 1 unless a method says otherwise, and the mean is over the batch. An image of which nothing is
    remembered starts from a random corner of the ball: `eps steepest(z)`, `z ~ N(0, 1)`; its velocity is 0. Every
    `reset` epochs all is forgotten.

    Both live in the coordinates of the image as it is stored: they are cropped and mirrored with it when they are
    read, and back when they are written. What a crop hides keeps its value, and a crop's black border starts at 0.

    Both are kept as fp16 on the training device, 4 bytes a pixel and channel: 0.6 GB for CIFAR-10, 4.9 GB for Tiny
    ImageNet. fp16 rounds a perturbation of 8/255 by at most 0.004/255, and of a velocity the direction is all that
    counts. They are part of a run's checkpoint, which grows by as much, but not of the saved model.

    With several processes each has the whole memory and writes the rows of its own images; the written rows are
    exchanged in every step, so that the memories stay equal whichever process an image is dealt to next.

    Args:
        momentum: share of a velocity that stays, 0 to below 1.
        reset: epochs after which all is forgotten, at least 1.
    """

    memories = ("perturbation", "velocity")

    perturbation: Tensor | None
    velocity: Tensor | None
    known: Tensor | None

    def __init__(self, momentum: float, reset: int) -> None:
        super().__init__()
        check_number("method.momentum", momentum, least=0, below=1)
        check_number("method.reset", reset, least=1, whole=True)
        self.momentum = momentum
        self.reset = reset
        for name in ("perturbation", "velocity", "known"):
            self.register_buffer(name, None)

    def allocate_memory(self, images: int, shape: tuple[int, int, int]) -> None:
        """Allocate the memory of each of `images` training images of this shape (C, H, W)."""
        self.perturbation = torch.zeros(images, *shape, dtype=torch.float16)
        self.velocity = torch.zeros(images, *shape, dtype=torch.float16)
        self.known = torch.zeros(images, dtype=torch.bool)

    def begin_epoch(self, model: nn.Module, epoch: int, first: Batch) -> None:
        """Forget everything in the first epoch and every `reset` epochs."""
        if epoch % self.reset == 0 and self.velocity is not None and self.known is not None:
            self.velocity.zero_()
            self.known.zero_()

    def attack_from_memory(
        self, model: nn.Module, batch: Batch, objective: Objective, attack: GradientAttack, keep: bool = True
    ) -> Perturbed:
        """Ascend from the remembered perturbations, and remember where the gradient there points.

        With `attack.mode` train BatchNorm uses the statistics of the batch and leaves the running ones alone: in the
        published code this pass is the one of the loss, which moves them.

        Args:
            model: the attacked network.
            batch: images with their indices.
            objective: what the attack raises.
            attack: the ascent; its own start is not used.
            keep: remember at once, with w = 1; else the method calls `update_memory` when it knows w.

        Raises:
            InputError: no memory was made, or the batch does not say which images it holds.
        """
        start = self._start(batch)
        gradients: list[Tensor] = []
        with buffers_kept(model) if attack.mode == "train" else nullcontext():
            images = attack.maximise(
                model, objective, batch.images, self.threat, self.generator, initial=start, on_gradient=gradients.append
            )
        perturbed = Perturbed(images, start, gradients[0])
        if keep:
            self.update_memory(batch, perturbed, attack, 1.0)
        return perturbed

    def update_memory(self, batch: Batch, perturbed: Perturbed, attack: GradientAttack, weight: Tensor | float) -> None:
        """Move velocity and perturbation of the batch's images by the attack's gradient, counted `weight` times."""
        if perturbed.gradient is not None:
            self._keep(batch, initial_of(perturbed), perturbed.gradient, weight, attack.step_size_under(self.threat))

    def _start(self, batch: Batch) -> Tensor:
        perturbation, _, known, rows = self._memory(batch)
        images = batch.images
        # Drawn for all images and used for the unknown ones: to ask how many these are would wait for the GPU.
        noise = empty_contiguous_like(images).normal_(generator=self.generator)
        corner = self.threat.radius * self.threat.steepest(noise, images)
        delta = torch.where(known[rows].view(-1, 1, 1, 1), perturbation[rows].to(images.dtype), corner)
        perturbation[rows] = delta.to(perturbation.dtype)
        if batch.placement is not None:
            delta = batch.placement.apply(delta)
        return self.threat.project(images + delta, images)

    def _keep(self, batch: Batch, start: Tensor, gradient: Tensor, weight: Tensor | float, step_size: float) -> None:
        perturbation, velocity, known, rows = self._memory(batch)
        images, placement = batch.images, batch.placement
        old_perturbation, old_velocity = perturbation[rows].float(), velocity[rows].float()
        moving = placement.apply(old_velocity) if placement is not None else old_velocity
        gradient = gradient.float()
        gradient = gradient / gradient.abs().mean().clamp_min(torch.finfo(torch.float32).tiny)
        moving = (weight * gradient + self.momentum * moving).clamp(-LARGEST_HALF, LARGEST_HALF)
        delta = self.threat.project(start + step_size * self.threat.steepest(moving, start), images) - images
        delta = delta.float()
        if placement is not None:
            moving = placement.undo(moving, like=old_velocity)
            delta = placement.undo(delta, like=old_perturbation)
        written = of_all_processes(rows)
        perturbation[written] = of_all_processes(delta.to(perturbation.dtype))
        velocity[written] = of_all_processes(moving.to(velocity.dtype))
        known[written] = True

    def _memory(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        name = type(self).__name__
        if self.perturbation is None or self.velocity is None or self.known is None:
            raise InputError(
                f"{name} remembers a perturbation of every training image, but no memory was made; call "
                "method.allocate_memory(number_of_images, (channels, height, width)) before training"
            )
        if batch.indices is None:
            raise InputError(
                f"{name} remembers a perturbation of every training image: expected Batch.indices, each image's "
                "place in the training set, got None; use Batch(images, labels, indices)"
            )
        if batch.images.shape[1:] != self.perturbation.shape[1:]:
            raise InputError(
                f"{name}: its memory was made for images of {tuple(self.perturbation.shape[1:])}, got images of "
                f"{tuple(batch.images.shape[1:])}; call method.allocate_memory with their shape"
            )
        return self.perturbation, self.velocity, self.known, batch.indices


def failure_rate(final: Tensor, initial: Tensor, labels: Tensor, before: Tensor) -> Tensor:
    """Share of the images right by their logits at the attack's start that are right at its end too; at most 1.

    A scalar, the same in all processes: counted over the images of all. `before` where none is right at the start.

    >>> start, end = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> failure_rate(end, start, torch.tensor([0, 0]), before=torch.tensor(1.0))
    tensor(0.5000)
    """
    right = torch.stack([(logits.argmax(1) == labels).sum() for logits in (final, initial)]).to(before.dtype)
    if several_processes():
        dist.all_reduce(right)
    return torch.where(right[1] > 0, right[0] / right[1].clamp_min(1), before).clamp_max(1)


def initial_of(perturbed: Perturbed) -> Tensor:
    """The images that the attack started from.

    Raises:
        InputError: they were not kept.
    """
    if perturbed.initial is None:
        raise InputError(
            "perturbed.initial: expected the images that the attack started from, got None; use method.perturb"
        )
    return perturbed.initial
