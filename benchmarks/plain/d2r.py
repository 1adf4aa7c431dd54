"""D2R with collaborative generation in the form of its code: the guide's output is computed in every step."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS, STEP_SIZE, STEPS = 8 / 255, 2 / 255, 10
MSE, CLEAN, ADVERSARIAL = 1.0, 20.0, 30.0


def attack(model: nn.Module, guide: nn.Module, images: Tensor) -> Tensor:
    """Ascent on the KL from the guide's clean output, from x + 0.001 N(0, 1), BatchNorm in eval mode."""
    kl = nn.KLDivLoss(reduction="sum")
    model.eval()
    guide.eval()
    adversarial = images.detach() + 0.001 * torch.randn_like(images)
    for _ in range(STEPS):
        adversarial.requires_grad_()
        with torch.enable_grad():
            loss = kl(F.log_softmax(model(adversarial), dim=1), F.softmax(guide(images), dim=1))
        gradient = torch.autograd.grad(loss, [adversarial])[0]
        adversarial = adversarial.detach() + STEP_SIZE * torch.sign(gradient.detach())
        adversarial = torch.min(torch.max(adversarial, images - EPS), images + EPS)
        adversarial = torch.clamp(adversarial, 0.0, 1.0)
    model.train()
    guide.train()
    return adversarial


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """A mean over batch and classes, with 1e-5 inside the log of the first argument."""
    p, q = F.softmax(first, dim=1), F.softmax(second, dim=1)
    return (p * ((p + 1e-5).log() - q.log())).mean()


class Plain:
    """A network in training, with its guide, which is one of the same architecture."""

    def __init__(self, network: nn.Module, guide: nn.Module) -> None:
        self.model, self.guide = network, guide
        parameters = [*network.parameters(), *guide.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=2e-4)

    def step(self, images: Tensor, labels: Tensor) -> float:
        """One step; its loss."""
        adversarial_images = attack(self.model, self.guide, images)
        self.optimizer.zero_grad()
        adversarial, clean = self.model(adversarial_images), self.model(images)
        guide = self.guide(images)
        gap = torch.abs(divergence(clean, guide) - divergence(guide, clean))
        loss = F.cross_entropy(guide, labels) + MSE * F.mse_loss(adversarial, guide)
        loss = loss + CLEAN * gap + ADVERSARIAL * divergence(adversarial, guide)
        loss.backward()
        self.optimizer.step()
        return loss.item()
