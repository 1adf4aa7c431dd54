"""TRADES as its repository trains: the clean output is computed again in every inner step, and twice in the loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS, STEP_SIZE, STEPS, BETA = 8 / 255, 2 / 255, 10, 6.0


def attack(model: nn.Module, images: Tensor) -> Tensor:
    """Ascent on the KL from the clean output, from x + 0.001 N(0, 1), BatchNorm in eval mode."""
    kl = nn.KLDivLoss(reduction="sum")
    model.eval()
    adversarial = images.detach() + 0.001 * torch.randn_like(images)
    for _ in range(STEPS):
        adversarial.requires_grad_()
        with torch.enable_grad():
            loss = kl(F.log_softmax(model(adversarial), dim=1), F.softmax(model(images), dim=1))
        gradient = torch.autograd.grad(loss, [adversarial])[0]
        adversarial = adversarial.detach() + STEP_SIZE * torch.sign(gradient.detach())
        adversarial = torch.min(torch.max(adversarial, images - EPS), images + EPS)
        adversarial = torch.clamp(adversarial, 0.0, 1.0)
    return adversarial


class Plain:
    """A network in training."""

    def __init__(self, network: nn.Module) -> None:
        self.model = network
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    def step(self, images: Tensor, labels: Tensor) -> float:
        """One step; its loss."""
        adversarial = attack(self.model, images)
        self.model.train()
        self.optimizer.zero_grad()
        natural = F.cross_entropy(self.model(images), labels)
        kl = nn.KLDivLoss(reduction="sum")
        robust = kl(F.log_softmax(self.model(adversarial), dim=1), F.softmax(self.model(images), dim=1)) / len(images)
        loss = natural + BETA * robust
        loss.backward()
        self.optimizer.step()
        return loss.item()
