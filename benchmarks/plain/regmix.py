"""RegMix with a prior-guided start, in the form of FGSM-PGI's code, which it builds on.

There the output at the attack's start is computed once, in train mode, `backward(retain_graph=True)` takes the
gradient of the perturbation (and of the weights), and the loss uses the same output again.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS, ALPHA, BETA, GAMMA, MOMENTUM = 8 / 255, 3.0, 10.0, 3.0, 0.3


def kl(first: Tensor, second: Tensor) -> Tensor:
    """KL of the first softmax to the second one, a mean over the batch."""
    log_p, log_q = F.log_softmax(first, dim=1), F.log_softmax(second, dim=1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


class Plain:
    """A network in training, with the perturbations and velocities of the images of one batch."""

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        self.model = network
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        self.forget(images)

    def forget(self, images: Tensor) -> None:
        """Begin at random corners of the ball."""
        self.delta = EPS * torch.sign(torch.randn_like(images))
        self.velocity = torch.zeros_like(images)

    def step(self, images: Tensor, labels: Tensor) -> float:
        """One step; its loss."""
        self.model.train()
        delta = torch.max(torch.min(self.delta, 1 - images), -images).detach().requires_grad_()
        initial = self.model(images + delta)
        F.cross_entropy(initial, labels).backward(retain_graph=True)
        gradient = delta.grad.detach()
        self.velocity = gradient / torch.norm(gradient, p=1) + self.velocity * MOMENTUM
        self.delta = torch.clamp(delta.detach() + EPS * torch.sign(self.velocity), -EPS, EPS)
        final_delta = torch.clamp(delta.detach() + EPS * torch.sign(gradient), -EPS, EPS)
        final_delta = torch.max(torch.min(final_delta, 1 - images), -images)
        final, clean = self.model(images + final_delta), self.model(images)
        loss = F.cross_entropy(final, labels) + ALPHA * kl(final, initial) + BETA * kl(initial, final)
        loss = loss + GAMMA * kl(final, clean)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
