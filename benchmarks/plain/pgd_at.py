"""PGD-AT as Rice et al. (2020) train: the attack calls `loss.backward()`, which computes the weights' gradients too.

Left out of their loop, which would make it slower: the forward pass that compares restarts, and the clean accuracy
that is logged in every step.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS, STEP_SIZE, STEPS = 8 / 255, 2 / 255, 10


def attack(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """PGD on the label from a uniform start, with BatchNorm in the mode that it is in: train."""
    delta = torch.zeros_like(images).uniform_(-EPS, EPS)
    delta = torch.clamp(delta, -images, 1 - images).requires_grad_()
    for _ in range(STEPS):
        loss = F.cross_entropy(model(images + delta), labels)
        loss.backward()
        gradient = delta.grad.detach()
        moved = torch.clamp(delta + STEP_SIZE * torch.sign(gradient), min=-EPS, max=EPS)
        delta.data = torch.max(torch.min(moved, 1 - images), -images).data
        delta.grad.zero_()
    return delta.detach()


class Plain:
    """A network in training."""

    def __init__(self, network: nn.Module) -> None:
        self.model = network
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    def step(self, images: Tensor, labels: Tensor) -> float:
        """One step; its loss."""
        self.model.train()
        delta = attack(self.model, images, labels)
        loss = F.cross_entropy(self.model(torch.clamp(images + delta, 0.0, 1.0)), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
