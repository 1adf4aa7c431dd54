"""ARoW as its repository trains: the clean output is computed again in every inner step."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS, STEP_SIZE, STEPS, LAMBDA, SMOOTHING = 8 / 255, 2 / 255, 10, 3.5, 0.2


def attack(model: nn.Module, images: Tensor) -> Tensor:
    """Ascent on the KL from the clean output, from a uniform start, BatchNorm in eval mode."""
    kl = nn.KLDivLoss(reduction="sum")
    model.eval()
    adversarial = torch.clamp(images.detach() + torch.empty_like(images).uniform_(-EPS, EPS), 0.0, 1.0)
    for _ in range(STEPS):
        adversarial.requires_grad_()
        outputs = model(adversarial)
        loss = kl(F.log_softmax(outputs, dim=1), F.softmax(model(images), dim=1))
        gradient = torch.autograd.grad(loss, [adversarial])[0]
        adversarial = adversarial.detach() + STEP_SIZE * gradient.sign()
        adversarial = torch.min(torch.max(adversarial, images - EPS), images + EPS)
        adversarial = torch.clamp(adversarial, 0.0, 1.0)
    model.train()
    return adversarial


def smoothed_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy whose labels give a share to all classes."""
    log_p = F.log_softmax(logits, dim=-1)
    true = -log_p.gather(dim=-1, index=labels.unsqueeze(1)).squeeze(1)
    return ((1 - SMOOTHING) * true - SMOOTHING * log_p.mean(dim=-1)).mean()


class Plain:
    """A network in training."""

    def __init__(self, network: nn.Module) -> None:
        self.model = network
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    def step(self, images: Tensor, labels: Tensor) -> float:
        """One step; its loss."""
        adversarial = attack(self.model, images)
        self.optimizer.zero_grad()
        clean_logits, adversarial_logits = self.model(images), self.model(adversarial)
        clean, perturbed = F.softmax(clean_logits, dim=1), F.softmax(adversarial_logits, dim=1)
        true = perturbed.gather(1, labels.unsqueeze(1)).squeeze(1)
        divergence = F.kl_div((perturbed + 1e-12).log(), clean, reduction="none").sum(dim=1)
        loss = smoothed_cross_entropy(clean_logits, labels) + 2 * LAMBDA * (divergence * (1.0 - true)).mean()
        loss.backward()
        self.optimizer.step()
        return loss.item()
