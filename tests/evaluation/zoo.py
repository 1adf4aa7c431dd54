"""A zoo of broken defences: small modules around a trained network, each caught by the check that is meant for it."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Around(nn.Module):
    """Something around a copy of a network, so that the network of a fixture stays as it is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)


class NormalisedOutside(Around):
    """A network whose training images were `(x - mean) / std`, without that step: it sees images in [0, 1]."""

    def __init__(self, network: nn.Module, mean: float, std: float) -> None:
        super().__init__(network)
        self.mean, self.std = mean, std

    def forward(self, images: Tensor) -> Tensor:
        # The network learned from x. One that learned from z = (x - mean) / std is this function of what it is shown.
        return self.network(images * self.std + self.mean)


class Probabilities(Around):
    """Ends in a softmax."""

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).softmax(1)


class HugeTemperature(Around):
    """Logits times a large number: cross-entropy has no gradient left, and nothing else has changed."""

    def __init__(self, network: nn.Module, factor: float = 1e4) -> None:
        super().__init__(network)
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images) * self.factor


class Clipped(Around):
    """Logits cut off at a bound, where they have no gradient."""

    def __init__(self, network: nn.Module, bound: float = 1.0) -> None:
        super().__init__(network)
        self.bound = bound

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).clamp(-self.bound, self.bound)


class Rectified(Around):
    """Ends in a ReLU, as a published network does: negative logits have no gradient."""

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).relu()


class Masked(Around):
    """A class that is not in use has the same logit for every image."""

    def forward(self, images: Tensor) -> Tensor:
        return F.pad(self.network(images)[:, :-1], (0, 1), value=-100.0)


class Quantised(Around):
    """Rounds the images to a few levels: no gradient, but hardly a defence."""

    def __init__(self, network: nn.Module, levels: int = 8) -> None:
        super().__init__(network)
        self.levels = levels

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images * self.levels).round() / self.levels)


class StraightThrough(Quantised):
    """Rounds the images, and passes the gradient on as if it had not."""

    def forward(self, images: Tensor) -> Tensor:
        rounded = (images * self.levels).round() / self.levels
        return self.network(images + (rounded - images).detach())


class FalseGradient(Around):
    """A gradient of the wrong sign."""

    def forward(self, images: Tensor) -> Tensor:
        return self.network(2 * images.detach() - images)


class Undifferentiable(Around):
    """Computes its logits outside the graph."""

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


class RefusesEval(Around):
    """Stays in train mode whatever it is told."""

    def train(self, mode: bool = True) -> "RefusesEval":
        return super().train(True)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


class BatchStatistics(Around):
    """In eval mode, but its BatchNorm has no other statistics than the batch's."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False
                module.running_mean = module.running_var = None

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


class RandomResize(Around):
    """Random resizing and padding (Xie et al. 2018), brought back to the network's own size."""

    def __init__(self, network: nn.Module, larger: int = 4) -> None:
        super().__init__(network)
        self.larger = larger

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        grown = int(torch.randint(1, self.larger + 1, ()))
        left, top = (int(torch.randint(0, self.larger - grown + 1, ())) for _ in range(2))
        right, bottom = self.larger - grown - left, self.larger - grown - top
        resized = F.interpolate(images, size=(height + grown, width + grown), mode="bilinear", align_corners=False)
        padded = F.pad(resized, (left, right, top, bottom))
        return self.network(F.interpolate(padded, size=(height, width), mode="bilinear", align_corners=False))


class Snapping(Around):
    """Answers for the nearest image that it remembers where none is near: a flat place that long steps fall into."""

    def __init__(self, network: nn.Module, remembered: Tensor, reach: float) -> None:
        super().__init__(network)
        self.register_buffer("remembered", remembered)
        self.reach = reach

    def forward(self, images: Tensor) -> Tensor:
        distances = torch.cdist(images.flatten(1), self.remembered.flatten(1), p=torch.inf)
        distance, nearest = distances.min(dim=1)
        far = (distance > self.reach).view(-1, 1, 1, 1)
        return self.network(torch.where(far, self.remembered[nearest], images))


class Rippled(Around):
    """Adds a fast small wave to every pixel, whose slope drowns that of the network."""

    def __init__(self, network: nn.Module, period: float = 0.02) -> None:
        super().__init__(network)
        self.period = period

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images + self.period * torch.sin(2 * torch.pi * images / self.period))


class RippledLogits(Around):
    """Adds to the logits a fast small wave of the image, whose slope drowns that of the network."""

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        wave = torch.sin(3000 * images.flatten(1).sum(1, keepdim=True))
        return logits + 0.3 * torch.sin(2 * torch.pi * 40 * logits) + 0.05 * wave


class _Backward(torch.autograd.Function):
    """The images as they are, and another gradient."""

    @staticmethod
    def forward(ctx, images: Tensor, kind: str) -> Tensor:
        ctx.kind = kind
        return images.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        if ctx.kind == "noisy":
            return gradient + 30 * gradient.abs().amax() * torch.randn_like(gradient), None
        dropped = gradient.clone()
        dropped[..., dropped.shape[-1] // 2 :] = 0
        return dropped, None


class HalfGradient(Around):
    """Half of the pixels get no gradient."""

    def forward(self, images: Tensor) -> Tensor:
        return self.network(_Backward.apply(images, "half"))


class NoisyBackward(Around):
    """Noise is added to the gradient, and to nothing else."""

    def forward(self, images: Tensor) -> Tensor:
        return self.network(_Backward.apply(images, "noisy"))


class OtherGradient(Around):
    """Asked for a gradient, it answers as the network does and gives that of the shifted image."""

    def forward(self, images: Tensor) -> Tensor:
        if not images.requires_grad:
            return self.network(images)
        answer = self.network(images.detach())
        other = self.network(images.roll(3, dims=-1))
        return answer + other - other.detach()


class KWinners(Around):
    """Only the largest values of every layer's output pass (k-WTA, Xiao et al. 2020), instead of a ReLU."""

    def __init__(self, network: nn.Module, share: float = 0.1) -> None:
        super().__init__(network)
        self.share = share

    def forward(self, images: Tensor) -> Tensor:
        for layer in self.network:
            if isinstance(layer, nn.ReLU):
                flat = images.flatten(1)
                kept = flat.topk(int(self.share * flat.shape[1]), dim=1)
                images = torch.zeros_like(flat).scatter(1, kept.indices, kept.values).view_as(images)
            else:
                images = layer(images)
        return images


class CountsQueries(Around):
    """Counts queries near those that it was asked before, and gives after some the first answer again (stateful)."""

    def __init__(self, network: nn.Module, patience: int = 25, reach: float = 0.25) -> None:
        super().__init__(network)
        self.patience, self.reach = patience, reach
        self.images = self.answers = self.count = torch.empty(0)

    def forward(self, images: Tensor) -> Tensor:
        logits, shown = self.network(images), images.detach()
        if not len(self.images):
            self.images, self.answers, self.count = shown[:0], logits.detach()[:0], torch.empty(0)
        flat, known = shown.flatten(1), self.images.flatten(1)
        distance = torch.cdist(flat, known, p=torch.inf) if len(known) else torch.full((len(flat), 1), torch.inf)
        far, nearest = distance.min(dim=1)
        near = far < self.reach
        tired = near & (self.count[nearest] >= self.patience) if len(known) else near
        answers = torch.where(tired.unsqueeze(1), self.answers[nearest], logits) if len(known) else logits
        self.count.index_add_(0, nearest[near], torch.ones(int(near.sum())))
        self.images = torch.cat([self.images, shown[~near]])
        self.answers = torch.cat([self.answers, logits.detach()[~near]])
        self.count = torch.cat([self.count, torch.ones(int((~near).sum()))])
        return answers
