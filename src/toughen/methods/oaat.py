"""OA-AT, oracle-aligned adversarial training."""

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from toughen.attacks import PGD, GradientAttack
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.errors import InputError
from toughen.losses import cross_entropy, kl, log_probabilities
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.methods.perceptual import Perceptual, WithDistance
from toughen.methods.trades import trades_terms
from toughen.models.features import find_layer, stage_ends
from toughen.models.passes import passes
from toughen.models.state import copied
from toughen.numbers import check_number
from toughen.threat import ThreatModel


class Reached(NamedTuple):
    """What of its run OA-AT has reached with an epoch.

    Attributes:
        grown: radius of the ball as a share of the largest one; None for that of the first quarter.
        late: share of the last quarter that is done at the epoch's end; 0 before it.
        mixed: share of `mixing` that is reached, which is not quite all in the last epoch.
    """

    grown: float | None = 1.0
    late: float = 1.0
    mixed: float = 1.0


def schedule(epoch: int, epochs: int) -> Reached:
    """That of an epoch, counted from 0, of so many.

    >>> [tuple(schedule(epoch, 4)) for epoch in range(4)]
    [(None, 0.0, 0.0), (0.5, 0.0, 0.0), (0.75, 0.0, 0.0), (1.0, 1.0, 0.5)]
    """
    number = min(epoch + 1, epochs)
    begin = 3 * epochs // 4
    done, quarter = max(0, number - begin), epochs - begin
    return Reached(None if number <= epochs // 4 else number / epochs, done / quarter, done / (quarter + 1))


def mixture(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Logits of `share softmax(first) + (1 - share) softmax(second)`; share above 0 and at most 1.

    >>> mixture(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, -100.0]]), 0.5).exp()
    tensor([[0.7500, 0.2500]])
    """
    if share == 1:
        return log_probabilities(first)
    return torch.logaddexp(log_probabilities(first) + math.log(share), log_probabilities(second) + math.log(1 - share))


class OAAT(Method):
    """OA-AT (Addepalli 2022): balls that grow beyond eps, where outputs may change as far as images look changed.

    `min CE(f(x), y) + b KL(p(x) || p(x'))` with `x' = argmax CE(f(x'), y)` in a ball of radius r, in units of eps: r is
    `first` in the first quarter of the run, with half the attack's steps, then `largest t` in an epoch that ends at the
    share t of it. In the last quarter two kinds of step take turns, from the first in each epoch:

    - x'' from the ball of `wide`, x' the same moved back into the ball of r, and `KL(a p(x) + (1 - a) p(x'') || p(x'))`
    - `x' = argmax CE(f(x'), y) - w ||phi(x) - phi(x')||`, the perceptual distance (LPIPS) by the features phi of an
      average of the network's weights, as it was before the epoch

    There b grows from `beta` to `beta_final`, w from 0 to `lpips`, and a falls from 1 to nearly `1 - mixing`. Starts
    are uniform in the ball of `first`, in steps of the second kind in that of r. AWP moves the weights up TRADES' loss:
    in the first three quarters at `x + 2 (x' - x)`, then at x'' or x'. Where the run's length is not known, each step
    is one of its end.

    Source: Addepalli et al., Scaling Adversarial Training to Large Perturbation Bounds, ECCV 2022, and its code.
    Published for CIFAR-10, ResNet-18, eps 8/255: the defaults, which end with balls of 16/255 and 24/255, attacks in
    train mode, AWP (gamma 0.005, from epoch 10), SGD with learning rate 0.2 (cosine) and weight decay 5e-4, batch 128,
    110 epochs, averaged weights (0.9996 a step) from epoch 83: 80.2 / 51.1 per cent clean / AutoAttack at 8/255. For
    WRN-34-10: beta 2, mixing 0.45, wide 2, 200 epochs and AutoAugment.

    When to use it: where a network is to hold beyond eps too, up to twice as far.

    Deviations: the attack sees BatchNorm in eval mode; `attack.mode` train is the code's way, but for the first batch
    of an epoch. The code passes the clean images twice in the first three quarters: `clean_passes=2`. It begins SGD's
    momentum anew in the last quarter. Its attack on the KL, for SVHN, is not here.

    Cost: 12 forward and 12 backward passes a step, 7 and 7 in the first quarter; in the last one a step of the first
    kind has 13 and 13, one of the second 11 and 10 of the average beside. Standard training has 1 and 1.

    Args:
        beta: weight b of the KL in the first three quarters, at least 0.
        beta_final: b in the last epoch, at least 0.
        mixing: share of p(x'') in the mixture at the end, at least 0 and below 1.
        wide: radius of the ball of x'' in units of eps.
        lpips: weight w of the perceptual distance in the last epoch, at least 0.
        first: radius of the ball in the first quarter, and of the starts, in units of eps.
        largest: r in the last epoch, in units of eps.
        decay: share of the average that stays in a step; it begins after the first epoch.
        layers: names of the layers that phi has; default the stages (layer1, ...), else the last normalisations.
        clean_passes: how often the clean images pass through the network for the loss in the first three quarters, 1 or
            2; published: 2.
        attack: the inner maximum, an ascent on the cross-entropy.
    """

    def __init__(
        self,
        beta: float = 1.5,
        beta_final: float = 3.0,
        mixing: float = 0.2,
        wide: float = 3.0,
        lpips: float = 1.0,
        first: float = 0.5,
        largest: float = 2.0,
        decay: float = 0.995,
        layers: list[str] | None = None,
        clean_passes: int = 1,
        attack: GradientAttack = PGD(steps=10),
    ) -> None:
        super().__init__()
        for name, weight in (("beta", beta), ("beta_final", beta_final), ("lpips", lpips)):
            check_number(f"method.{name}", weight, "a weight", least=0)
        for name, radius in (("wide", wide), ("first", first), ("largest", largest)):
            check_number(f"method.{name}", radius, "a radius in units of eps", above=0)
        check_number("method.mixing", mixing, "a share", least=0, below=1)
        check_number("method.decay", decay, above=0, below=1)
        if clean_passes not in (1, 2):
            raise InputError(f"method.clean_passes: expected 1 or 2, got {clean_passes}")
        self.beta = beta
        self.beta_final = beta_final
        self.mixing = mixing
        self.wide = wide
        self.lpips = lpips
        self.first = first
        self.largest = largest
        self.decay = decay
        self.layers = layers
        self.clean_passes = clean_passes
        self.attack = of_kind("method.attack", attack, GradientAttack)
        self.average: nn.Module | None = None
        self.perceptual: Perceptual | None = None
        self._epoch, self._attacks, self._updates = -1, 0, 0

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network as it is; makes its average, and what looks at images.

        Raises:
            InputError: it has no such layers.
        """
        layers = stage_ends(model) if self.layers is None else [find_layer(model, name) for name in self.layers]
        self.average = copied(model).requires_grad_(False).eval()
        self.perceptual = Perceptual(copied(model), layers)
        return model

    def train(self, mode: bool = True) -> "OAAT":
        """Set train or eval mode of this method; the average stays in eval mode."""
        super().train(mode)
        if self.average is not None:
            self.average.eval()
        return self

    def get_extra_state(self) -> Tensor:
        """The epoch, its attacks and its updates of the weights, on the CPU: a GPU is not waited for."""
        return torch.tensor([self._epoch, self._attacks, self._updates])

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the run's place."""
        self._epoch, self._attacks, self._updates = state.tolist()

    @property
    def at(self) -> Reached:
        """Where the epoch lies in its run."""
        return Reached() if self.epochs is None or self._epoch < 0 else schedule(self._epoch, self.epochs)

    @property
    def radius(self) -> float:
        """Radius r of the epoch's ball in units of eps."""
        grown = self.at.grown
        return self.first if grown is None else grown * self.largest

    @property
    def weight(self) -> float:
        """Weight b of the epoch's KL."""
        return self.beta + (self.beta_final - self.beta) * self.at.late

    @property
    def step_kind(self) -> str:
        """The quarters' and the turns' own cost."""
        if self.at.late:
            return ", perceptual" if self._attacks % 2 else ", wide"
        return ", half the attack" if self.at.grown is None else ""

    def begin_epoch(self, model: nn.Module, epoch: int, first: Batch) -> None:
        """Begin the turns anew, and look at images with the average as it is now.

        Raises:
            InputError: the average was not told of updates.
        """
        if epoch > 0 and self._attacks and not self._updates:
            raise InputError(
                "OAAT follows the network's weights, and was told of no update in the last epoch; call "
                "step.after_update(), or method.after_update(model), after every optimizer.step()"
            )
        self._epoch, self._attacks, self._updates = epoch, 0, 0
        if self.average is not None and self.perceptual is not None:
            _move(self.perceptual.network, self.average, 1.0)

    def after_update(self, model: nn.Module) -> None:
        """Take the weights and BatchNorm's statistics into the average; in the first epoch it is the network."""
        self._updates += 1
        if self.average is not None:
            _move(self.average, model, 1.0 if self._epoch == 0 else 1 - self.decay)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an ascent finds in the epoch's ball, in the way whose turn it is."""
        images, ball, attack = batch.images, self.threat.scaled(self.radius), self._attack()
        turn, self._attacks = self._attacks % 2, self._attacks + 1
        if self.at.late and turn == 1:
            return Perturbed(self._unseen(model, batch, attack, ball))
        start = attack.initial(images, self.threat.scaled(min(self.first, self.radius)), self.generator)
        around = self.threat.scaled(self.wide) if self.at.late else ball
        found = attack.maximise(
            model, lambda logits: cross_entropy(logits, batch.labels), images, around, self.generator, initial=start
        )
        return Perturbed(ball.project(found, images), far=found) if self.at.late else Perturbed(found)

    def _unseen(self, model: nn.Module, batch: Batch, attack: GradientAttack, ball: ThreatModel) -> Tensor:
        """Images that are mistaken and look as little changed as possible."""
        if self.perceptual is None:
            raise InputError("OAAT has no perceptual distance yet; make it with model = method.prepare(model)")
        weight = self.lpips * self.at.late

        def objective(outputs: Tensor) -> Tensor:
            return cross_entropy(outputs[:, :-1], batch.labels) - weight * outputs[:, -1]

        beside = WithDistance(model, self.perceptual, batch.images)
        return attack.maximise(beside, objective, batch.images, ball, self.generator)

    def _attack(self) -> GradientAttack:
        if self.at.grown is not None:
            return self.attack
        short = copy.copy(self.attack)
        short.steps = max(1, short.steps // 2)
        if short.step_size is not None:
            short.step_size *= 2
        return short

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Cross-entropy of the clean images, and the KL of its kind of step."""
        if perturbed.far is not None:
            far, clean, near = passes(model, perturbed.far, batch.images, perturbed.images)
            target = mixture(clean, far, 1 - self.mixing * self.at.mixed)
            return {
                "natural": Term(cross_entropy(clean, batch.target)),
                "robust_kl": Term(kl(target, near), self.weight),
            }
        again = [batch.images] * (0 if self.at.late else self.clean_passes - 1)
        near, clean, *_ = passes(model, perturbed.images, batch.images, *again)  # more than one only moves statistics
        return trades_terms(clean, near, batch.target, self.weight)

    def awp_terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """TRADES' loss at images that are farther off than those of the step's own, where there are some."""
        images = perturbed.images if perturbed.far is None else perturbed.far
        if not self.at.late:
            images = (batch.images + 2 * (images - batch.images)).clamp(0, 1)
        adversarial, clean = passes(model, images, batch.images)
        return trades_terms(clean, adversarial, batch.target, self.weight)


def _move(network: nn.Module, towards: nn.Module, share: float) -> None:
    """Move all that a network consists of towards another's by this share; integers are copied."""
    with torch.no_grad():
        ours, theirs = ([*each.parameters(), *each.buffers()] for each in (network, towards))
        for tensor, other in zip(ours, theirs, strict=True):
            if share == 1 or not tensor.is_floating_point():
                tensor.copy_(other)
            else:
                tensor.lerp_(other, share)
