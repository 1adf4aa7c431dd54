"""AR-AT, asymmetric representation-regularised adversarial training."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.contracts import check_choice, of_kind
from toughen.errors import InputError
from toughen.hardware.precision import at_least_fp32
from toughen.losses import cross_entropy, kl, squared_error
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.models.features import captured, feature_widths, find_layer, last_stage
from toughen.models.mode import buffers_kept, evaluating
from toughen.models.passes import passes
from toughen.models.split_batchnorm import branch, merge_batch_norms, split_batch_norms
from toughen.numbers import check_number

Direction = Literal["to_clean", "to_adversarial", "both"]
Distance = Literal["cosine", "mse", "kl"]


def feature_distance(moving: Tensor, target: Tensor, distance: Distance) -> Tensor:
    """Distance of features N x D from their target, (N,).

    cosine: `1 - cos(moving, target)`; mse: mean of `(moving - target)^2` over the features; kl:
    `KL(softmax(target) || softmax(moving))`.

    >>> feature_distance(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]]), "cosine")
    tensor([1.])
    """
    match distance:
        case "cosine":
            return 1 - F.cosine_similarity(at_least_fp32(moving), at_least_fp32(target), dim=1)
        case "mse":
            return squared_error(moving, target)
        case "kl":
            return kl(target, moving)


def invariance(
    adversarial: Tensor,
    clean: Tensor,
    predictor: nn.Module | None = None,
    *,
    direction: Direction = "to_clean",
    distance: Distance = "cosine",
    stop_gradient: bool = True,
) -> Tensor:
    """The invariance loss of one layer's features N x D of adversarial and clean images, (N,).

    to_clean: `D(h(adversarial), stopgrad(clean))`; to_adversarial: the roles exchanged; both: half the sum of the two.
    h is the predictor, the identity where there is none.
    """
    if direction == "both":
        pairs = [(adversarial, clean), (clean, adversarial)]
    else:
        pairs = [(adversarial, clean) if direction == "to_clean" else (clean, adversarial)]
    values = [
        feature_distance(
            moving if predictor is None else predictor(moving), target.detach() if stop_gradient else target, distance
        )
        for moving, target in pairs
    ]
    return torch.stack(values).mean(dim=0)


class Predictor(nn.Module):
    """`h`: Linear(d, d / 4, no bias), BatchNorm, ReLU, Linear(d / 4, d), as SimSiam's.

    A batch of one image has no statistics of its own: it is normalised with the running ones, and leaves them.

    Args:
        width: number of features, d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(1, width // 4)
        self.linear1 = nn.Linear(width, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.linear2 = nn.Linear(hidden, width)

    def forward(self, features: Tensor) -> Tensor:
        """Predicted features, same shape."""
        hidden, norm = self.linear1(features), self.norm
        if len(features) > 1:
            hidden = norm(hidden)
        else:
            hidden = F.batch_norm(hidden, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        return self.linear2(F.relu(hidden))


class ARAT(Method):
    """AR-AT (Waseda 2025): adversarial features drawn to clean ones, one way only, each kind with its BatchNorm.

    `min a CE(f_adv(x'), y) + (1 - a) CE(f_clean(x), y) + gamma mean_l D(h_l(z_l(x')), stopgrad z_l(x))`
    with `x' = argmax CE(f_adv(x'), y)`. f_adv and f_clean share all weights but BatchNorm's; z_l is layer l's output
    after ReLU and global average pooling, of the branch of its image; h_l is a predictor (linear, BatchNorm, ReLU,
    linear) that learns along; D is 1 minus the cosine. a is the clean branch's accuracy on 1,000 training
    images, drawn by class, at the start of the epoch. The adversarial branch predicts: what a run saves is an ordinary
    network.

    Source: Waseda et al., Rethinking Invariance Regularization in Adversarial Training to Improve Robustness-Accuracy
    Trade-off, ICLR 2025, and its code. Published: 10 steps of 2/255 from a uniform start in the l-inf ball of 8/255,
    with BatchNorm in train mode, so that the attack moves the adversarial branch's statistics too (attack.mode eval
    leaves them alone). ResNet-18: gamma 30 and the four BatchNorms of the last stage; WRN-34-10: gamma 100, the ReLUs
    of the last stage and the final pooling. SGD, lr 0.1 (0.02 in epoch 1), weight decay 5e-4, batch 128, 100 epochs,
    x0.1 after 76 and 91. With weight averaging: SWA(start=76, every_steps=500), its BatchNorm statistics estimated
    on adversarial images that are found in train mode.

    When to use it: where both clean and robust accuracy matter and the network has BatchNorm. Without BatchNorm layers
    to split, give `split_bn` false, which loses part of the gain.

    Deviations: the published code adds the attack's random start to the batch in place, so that its clean branch trains
    on noisy images and its adversarial images lie up to 2 eps from the clean ones; this follows the paper unless
    `noise_in_place` is set. The code measures a on augmented, shuffled images; the KL distance has no temperature; the
    code's opposite and symmetric ablations place stop-gradient and predictor otherwise than `direction` does. In a
    loop of one's own, a is 0.5 until `begin_epoch` has been called. A batch of one image passes the predictors by their
    running statistics.

    Cost: 12 forward and 12 backward passes a step; standard training has 1 and 1.

    Args:
        gamma: weight of the invariance loss, at least 0; 30 for ResNet-18, 100 for WRN-34-10.
        layers: names of the layers to align, such as layer4.1.bn2; default: by architecture, as published.
        stop_gradient: keep the target of the invariance loss fixed; false lets it move too.
        predictor: put a predictor on the side that moves; false compares the features themselves.
        split_bn: give clean and adversarial images their own BatchNorm; false lets them share one.
        direction: to_clean (published), to_adversarial (the opposite), or both (symmetric: half the sum).
        distance: cosine, mse or kl (of softmax over the features, from the target).
        noise_in_place: the code's way: clean branch and ball are those of the image with the attack's random start.
        balance: a, the weight of the adversarial cross-entropy, 0 to 1; default: measured before every epoch.
        attack: the inner maximum, an attack on the label through the adversarial branch.
    """

    a: Tensor

    def __init__(
        self,
        gamma: float = 30.0,
        layers: list[str] | None = None,
        stop_gradient: bool = True,
        predictor: bool = True,
        split_bn: bool = True,
        direction: Direction = "to_clean",
        distance: Distance = "cosine",
        balance: float | None = None,
        noise_in_place: bool = False,
        attack: PGD = PGD(steps=10, mode="train"),
    ) -> None:
        super().__init__()
        check_number("method.gamma", gamma, "a weight", least=0)
        if balance is not None:
            check_number("method.balance", balance, "a weight", least=0, most=1)
        if layers is not None and not layers:
            raise InputError("method.layers: expected at least one name, got none; leave it out for the default")
        for name, value, kind in (("direction", direction, Direction), ("distance", distance, Distance)):
            check_choice(f"method.{name}", value, kind)
        self.gamma = gamma
        self.layers = layers
        self.stop_gradient = stop_gradient
        self.predictor = predictor
        self.split_bn = split_bn
        self.direction: Direction = direction
        self.distance: Distance = distance
        self.balance = balance
        self.noise_in_place = noise_in_place
        self.attack = of_kind("method.attack", attack, PGD)
        self.names: list[str] = []
        self.shape: tuple[int, int, int] | None = None
        self.predictors = nn.ModuleList()
        self.register_buffer("a", torch.tensor(0.5 if balance is None else balance))

    def allocate_memory(self, images: int, shape: tuple[int, int, int]) -> None:
        """Keep the images' shape, by which `prepare` finds the widths of the layers."""
        self.shape = shape

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network with split BatchNorms; the predictors are built to its layers.

        Raises:
            InputError: a layer that does not exist, with the names that do; no BatchNorm to split.
        """
        if self.layers is None:
            self.names = last_stage(model)
        else:
            self.names = list(dict.fromkeys(find_layer(model, name) for name in self.layers))
        widths = feature_widths(model, self.names, self.shape)
        weight = next(model.parameters())
        self.predictors = nn.ModuleList(Predictor(width) for width in widths if self.predictor)
        self.predictors.to(weight.device, weight.dtype)
        return split_batch_norms(model) if self.split_bn else model

    def begin_epoch(self, model: nn.Module, epoch: int, first: Batch) -> None:
        """Measure a, the accuracy of the clean branch."""
        if self.balance is not None:
            return
        with evaluating(model), branch(model, "clean"), torch.no_grad():
            outputs = torch.cat([model(images) for images in first.images.split(250)])
        self.a.fill_((outputs.argmax(dim=1) == first.labels).float().mean())

    def inference_model(self, model: nn.Module) -> nn.Module:
        """The network of the adversarial branch."""
        return merge_batch_norms(model)

    def batchnorm_images(self, model: nn.Module, batch: Batch) -> Tensor:
        """Adversarial images, found with the statistics of the batch: the running ones are not there yet."""
        attack = copy.copy(self.attack)
        attack.mode = "train"
        with buffers_kept(model):
            return attack.run(model, batch.images, batch.labels, self.threat, self.generator).adversarial

    @property
    def attacks_outputs(self) -> bool:
        """Return False: the attack goes through a branch of the network itself."""
        return False

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an attack on the label, through the adversarial branch, finds."""
        labels, generator = batch.labels, self.generator
        with branch(model, "adversarial"):
            if not self.noise_in_place:
                return Perturbed(self.attack.run(model, batch.images, labels, self.threat, generator).adversarial)
            noisy = self.attack.initial(batch.images, self.threat, generator)
            found = self.attack.run(model, noisy, labels, self.threat, generator, initial=noisy)
            return Perturbed(found.adversarial, noisy)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The two branches' cross-entropies, and the distance of their features.

        Raises:
            InputError: the method has not prepared the network.
        """
        if not self.names:
            raise InputError("ARAT has no layers yet; begin with model = method.prepare(model)")

        def outputs(images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            with captured(model, self.names) as features:
                logits = model(images)
            return logits, features

        center = batch.images if perturbed.initial is None else perturbed.initial
        (clean, clean_features), (adversarial, adversarial_features) = passes(
            model, center, perturbed.images, branches=("clean", "adversarial"), ask=outputs
        )
        predictors = list(self.predictors) if self.predictor else [None] * len(self.names)
        distances = [
            invariance(
                adversarial_features[name],
                clean_features[name],
                predictor,
                direction=self.direction,
                distance=self.distance,
                stop_gradient=self.stop_gradient,
            )
            for name, predictor in zip(self.names, predictors, strict=True)
        ]
        return {
            "adversarial_ce": Term(cross_entropy(adversarial, batch.target), self.a),
            "clean_ce": Term(cross_entropy(clean, batch.target), 1 - self.a),
            "invariance": Term(torch.stack(distances).mean(dim=0), self.gamma),
        }
