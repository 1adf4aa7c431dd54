"""The contract between a published idea and the training loop."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from toughen.analysis.measures.images import Weighting
from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.contracts import check_image_form, check_labels, check_model, of_kind
from toughen.errors import InputError
from toughen.numbers import Number
from toughen.settings.description import changed
from toughen.threat import Norm, ThreatModel, as_threat


class Perturbed(NamedTuple):
    """Images that the inner maximum gives.

    Attributes:
        images: the adversarial images, N x C x H x W, in [0, 1] and, unless the method says otherwise, inside the
            threat model around the clean ones.
        initial: the images that the attack started from, for methods that compare the two.
        gradient: the attack's first one, at `initial`, for methods that use it once the loss is known.
        held: in how many of the attack's steps each image was still right, (N,), for methods that weigh by it.
        target: labels as the method drew them for the loss, for methods that soften them at random.
        noisy: random images of the threat model, for methods that look at the network there too.
        views: the adversarial images of the batch's further views.
        far: images of a larger ball, for methods that look farther than they train.
    """

    images: Tensor
    initial: Tensor | None = None
    gradient: Tensor | None = None
    held: Tensor | None = None
    noisy: Tensor | None = None
    target: Tensor | None = None
    views: tuple[Tensor, ...] = ()
    far: Tensor | None = None


class Term(NamedTuple):
    """A part of a method's loss.

    Attributes:
        values: one value an image, (N,), or a scalar where the published term is one of the whole batch.
        weight: its factor in the total; a scalar tensor where it is measured on the device.
    """

    values: Tensor
    weight: float | Tensor = 1.0


Terms = dict[str, Term]
"""The parts of a loss by their names, which `metrics.csv` shows as `loss/<name>`."""


def weighted(terms: Terms, batch: Batch) -> Terms:
    """The terms with each image's values times its weight in the batch; what is of the whole batch stays as it is.

    >>> batch = Batch(torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]), weights=torch.tensor([0.5, 1.5]))
    >>> weighted({"ce": Term(torch.tensor([2.0, 2.0]))}, batch)["ce"].values
    tensor([1., 3.])
    """
    weights = batch.weights
    if weights is None:
        return terms
    return {
        name: term._replace(values=term.values * weights) if term.values.shape == weights.shape else term
        for name, term in terms.items()
    }


def total(terms: Terms) -> Tensor:
    """The scalar that is minimised: the sum over the terms of `weight * mean(values)`."""
    return torch.stack([term.weight * term.values.mean() for term in terms.values()]).sum()


class Method(nn.Module, ABC):
    """A way to train: how images are perturbed, and what is minimised on them.

    The constructor takes the published settings by keyword and stores each under its own name. A method may hold
    learnable parts and buffers; the optimiser, the checkpoint and the device follow by themselves. It never sees an
    optimiser, a device or a precision.

    In a loop of your own:

        method = TRADES(beta=6).under(eps="8/255")
        model = method.prepare(model)
        loss = method(model, images, labels)
    """

    threat: ThreatModel = ThreatModel()
    """The perturbations to withstand; set by `under`."""
    generator: torch.Generator | None = None
    """Source of random starts, on the model's device; None is torch's global one. Set by `under`."""
    defends: bool = True
    """Whether it trains for robustness; if so the checkpoint is chosen by robust accuracy, else by clean accuracy."""
    weighting: Weighting | None = None
    """How its regulariser weighs the images, where it does and that is one of the published ways."""
    epochs: int | None = None
    """Epochs of the run, for weights that change over it; set by the loop. None: they are as they are given."""
    replays: int = 1
    """How often in a row the batches of an update are taken, with an update each time."""
    views: int = 0
    """How many further augmented versions of each image it asks for; `Batch.views`."""
    memories: tuple[str, ...] = ()
    """Buffers of a row for every image of the training set or of an update.

    The method keeps them equal in all processes; the loop does not.
    """

    made_late: tuple[str, ...] = ()
    """Buffers that are None until the first batch shows their size; a checkpoint's are taken as they are."""

    def extra_repr(self) -> str:
        """Its settings that are not their defaults."""
        return changed(self)

    def under(
        self,
        threat: ThreatModel | None = None,
        generator: torch.Generator | None = None,
        *,
        eps: Number | None = None,
        norm: Norm | None = None,
    ) -> Self:
        """This method, training against a threat model (or `eps` and `norm`, as attacks take it).

        Random starts are drawn from `generator`.
        """
        if generator is not None:
            of_kind("generator", generator, torch.Generator)
        self.threat, self.generator = as_threat(threat, eps, norm), generator
        return self

    @property
    def threats(self) -> tuple[ThreatModel, ...]:
        """All that it trains against: `threat`, by which a run is validated, and others that a method takes."""
        return (self.threat,)

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network to train: the given one, unless the method changes it. Called before the optimiser is made."""
        return model

    def allocate_memory(self, images: int, shape: tuple[int, int, int]) -> None:
        """Allocate the memory of each of `images` training images of this shape (C, H, W).

        Called once, before `prepare`; for methods with a memory per image, which is a buffer of N rows that
        `Batch.indices` address.
        """

    def begin_epoch(self, model: nn.Module, epoch: int, first: Batch) -> None:
        """Called before every epoch (counted from 0) with 1,000 training images drawn by class, not augmented."""

    def inference_model(self, model: nn.Module) -> nn.Module:
        """The ordinary network that is validated, saved and reported: the trained one, less what only training needs.

        Shares its parameters and buffers with `model`.
        """
        return model

    @property
    def step_kind(self) -> str:
        """The next step's kind in words, where steps of an epoch or of a run differ in their cost."""
        return ""

    def attack_failure_rate(self) -> Tensor | None:
        """1 minus the success rate of the last step's attack, over images that were right at its start; a scalar.

        For averages of the weights that follow it; None where the method does not measure it.
        """
        return None

    def batchnorm_images(self, model: nn.Module, batch: Batch) -> Tensor:
        """The images on which an averaged network's BatchNorm statistics are estimated: the clean ones.

        `model` is the averaged inference model in train mode, its statistics half estimated; leaves them as they are.
        """
        return batch.images

    def own_smoothing(self) -> str | None:
        """The option that stops the method from softening labels itself, such as `--method.smoothing 0`; else None.

        Labels must not be softened twice: where the method does it, a run refuses label smoothing of its own.
        """
        return None

    def auxiliary_networks(self) -> dict[str, nn.Module]:
        """Networks to keep beside the reported one, by name: the run saves each as `<name>.safetensors`."""
        return {}

    def guides(self) -> dict[str, nn.Module]:
        """Networks that the trained one learns from or beside, by name, such as LBGAT's guide; for analyses."""
        return {}

    @property
    def attacks_outputs(self) -> bool:
        """Whether `perturb` needs only the model's outputs in eval mode, so that a faster replica can stand in."""
        attack = getattr(self, "attack", None)
        return isinstance(attack, GradientAttack) and attack.mode == "eval"

    @abstractmethod
    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """The inner maximum. Leaves the model's parameters, gradients and train/eval flags as they were."""

    @abstractmethod
    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The loss on this batch, part by part, differentiable with respect to the model."""

    def awp_terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The loss that adversarial weight perturbation moves the weights up, where a run has it: that of `terms`."""
        return self.terms(model, batch, perturbed)

    def after_loss(self, batch: Batch, perturbed: Perturbed) -> None:
        """Called once a step after its loss was computed; for memories that depend on how well the attack did."""

    def after_update(self, model: nn.Module) -> None:
        """Called after every update of the weights; for averages of the network that a method keeps."""

    def forward(
        self, model: nn.Module, images: Tensor | Batch, labels: Tensor | None = None, indices: Tensor | None = None
    ) -> Tensor:
        """The loss, inner maximum included, a scalar ready for `backward()`.

        Args:
            model: the network, as `prepare` gave it.
            images: float in [0, 1], N x C x H x W; or a `Batch`, alone, which can say more than labels and indices.
            labels: int64, (N,).
            indices: int64, (N,), each image's place in the training set, for methods with a memory of every image.

        Raises:
            InputError: the model, or images and labels by type, shape or device, do not fit. What asks for values,
                which a GPU would have to be waited for, is `Batch.check`.
        """
        check_model(model)
        batch = _as_batch(images, labels, indices)
        check_image_form(batch.images)
        check_labels(batch.labels, batch.images)
        perturbed = self.perturb(model, batch)
        loss = total(weighted(self.terms(model, batch, perturbed), batch))
        self.after_loss(batch, perturbed)
        return loss

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in self.made_late:
            saved = state_dict.get(prefix + name)
            setattr(self, name, None if saved is None else torch.empty_like(saved))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _as_batch(images: Tensor | Batch, labels: Tensor | None, indices: Tensor | None) -> Batch:
    if isinstance(images, Batch):
        if labels is not None or indices is not None:
            raise InputError("images: expected a Batch alone, got labels or indices beside it; they belong in it")
        return images
    if labels is None:
        raise InputError("labels: expected an int64 tensor, got None; use method(model, images, labels)")
    return Batch(images, labels, indices)
