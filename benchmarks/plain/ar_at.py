"""AR-AT in the form of its paper: two BatchNorms, the attack through the adversarial one in train mode."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS, STEP_SIZE, STEPS, GAMMA = 8 / 255, 2 / 255, 10, 30.0


class DualBatchNorm(nn.Module):
    """A BatchNorm for clean and one for adversarial images."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))
        self.adversarial = True

    def forward(self, x: Tensor) -> Tensor:
        return self.norms[self.adversarial](x)


def doubled(module: nn.Module) -> nn.Module:
    """The same network with two BatchNorms in place of each one."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, DualBatchNorm(child.num_features).to(child.weight))
        else:
            doubled(child)
    return module


class Predictor(nn.Module):
    """Linear, BatchNorm, ReLU, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width // 4, bias=False),
            nn.BatchNorm1d(width // 4),
            nn.ReLU(),
            nn.Linear(width // 4, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Plain:
    """A network in training; `layers` are those whose features, of images like these, are aligned."""

    def __init__(self, network: nn.Module, layers: list[str], images: Tensor, balance: float = 0.5) -> None:
        self.model, self.balance = doubled(network), balance
        self.features: list[Tensor] = []
        for name in layers:
            self.model.get_submodule(name).register_forward_hook(self._keep)
        with torch.no_grad():  # and nothing is kept of the pass, for what memory a step takes
            widths = [features.shape[1] for features in self._pass(images, adversarial=False)[1]]
        self.features = []
        self.predictors = nn.ModuleList(map(Predictor, widths)).to(images)
        parameters = [*self.model.parameters(), *self.predictors.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4)

    def step(self, images: Tensor, labels: Tensor) -> float:
        """One step; its loss."""
        self.model.train()
        adversarial_images = self._attack(images, labels)
        self.optimizer.zero_grad()
        clean, clean_features = self._pass(images, adversarial=False)
        adversarial, adversarial_features = self._pass(adversarial_images, adversarial=True)
        distances = [
            1 - F.cosine_similarity(predictor(moving), target.detach(), dim=1).mean()
            for predictor, moving, target in zip(self.predictors, adversarial_features, clean_features, strict=True)
        ]
        loss = self.balance * F.cross_entropy(adversarial, labels)
        loss = loss + (1 - self.balance) * F.cross_entropy(clean, labels) + GAMMA * sum(distances) / len(distances)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def _attack(self, images: Tensor, labels: Tensor) -> Tensor:
        adversarial = torch.clamp(images + torch.empty_like(images).uniform_(-EPS, EPS), 0.0, 1.0)
        for _ in range(STEPS):
            adversarial.requires_grad_()
            loss = F.cross_entropy(self._pass(adversarial, adversarial=True)[0], labels)
            gradient = torch.autograd.grad(loss, [adversarial])[0]
            adversarial = adversarial.detach() + STEP_SIZE * torch.sign(gradient)
            adversarial = torch.min(torch.max(adversarial, images - EPS), images + EPS)
            adversarial = torch.clamp(adversarial, 0.0, 1.0)
        return adversarial

    def _pass(self, images: Tensor, adversarial: bool) -> tuple[Tensor, list[Tensor]]:
        for module in self.model.modules():
            if isinstance(module, DualBatchNorm):
                module.adversarial = adversarial
        self.features = []
        return self.model(images), self.features

    def _keep(self, layer: nn.Module, inputs: object, output: Tensor) -> None:
        self.features.append(F.relu(output).mean(dim=(2, 3)))
