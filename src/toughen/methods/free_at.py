"""Free adversarial training, whose attack takes its gradients from the training's own passes."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from toughen.batch import Batch
from toughen.hardware.processes import of_all_processes, several_processes
from toughen.losses import cross_entropy
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.numbers import Number, as_float, check_number


class FreeAT(Method):
    """Free-AT (Shafahi 2019): adversarial training at the cost of training, every batch taken several times in a row.

    `min CE(f(x + d), y)`, `replays` updates on each batch. The backward pass of each also gives the gradient g at the
    images, and `d <- project(d + s steepest(g))` for the next: the attack is one update behind the network. d starts at
    0, has a row for each place in a batch, and goes on from batch to batch.

    Source: Shafahi et al., Adversarial Training for Free!, NeurIPS 2019, and its code for ImageNet. Published for
    CIFAR-10 with WRN-32-10, l-inf ball of 8/255, batch 128: 8 replays in 80,000 updates, which are 26 epochs of the
    images (86.0 clean, 46.2 PGD-100); for ImageNet with ResNet-50, ball of 4/255, batch 256: 4 replays.

    When to use it: as the cheapest multi-step baseline, with the epochs divided by `replays`; N-FGSM is stronger at
    its cost. BatchNorm sees each batch `replays` times, and many replays forget earlier batches.

    Deviation: none in l-inf; other norms take their own steepest step.

    With several processes d is exchanged after every pass and is the same in all, so that it does not matter which of
    them takes which images. Where gradients are accumulated, the batches of an update are taken again together.

    Memory: d is as large as the images of an update, and part of the checkpoint.

    Cost: 1 forward and 1 backward passes an update, as standard training; an epoch has `replays` times as many updates.

    Args:
        replays: updates on each batch, at least 1.
        step_size: length s of d's step; default eps.
    """

    memories = made_late = ("carried",)

    carried: Tensor | None
    """d: part of an update x place in the batch of all processes x C x H x W."""

    def __init__(self, replays: int = 8, step_size: Number | None = None) -> None:
        super().__init__()
        check_number("method.replays", replays, least=1, whole=True)
        self.replays = replays
        self.step_size = None if step_size is None else as_float(step_size, "method.step_size")
        if self.step_size is not None:
            check_number("method.step_size", self.step_size, above=0)
        self.register_buffer("carried", None)
        self._rows: tuple[int, Tensor] | None = None
        self._passed: list[Tensor] = []

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """The images with what is carried, without a pass through the network."""
        self._ascend()
        images = batch.images
        rank, processes = (dist.get_rank(), dist.get_world_size()) if several_processes() else (0, 1)
        carried = self._made(images, batch.part + 1, processes * len(images))
        places = rank + processes * torch.arange(len(images), device=images.device)
        self._rows, self._passed = (batch.part, places), []
        return Perturbed(self.threat.project(images + carried[batch.part, places].to(images.dtype), images))

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The cross-entropy of the perturbed images, which keep its gradient."""
        images = perturbed.images.detach().requires_grad_(True)
        self._passed.append(images)
        return {"adversarial_ce": Term(cross_entropy(model(images), batch.target))}

    def after_loss(self, batch: Batch, perturbed: Perturbed) -> None:
        """Let what is carried climb by the backward pass; one that is still to come counts at the next step."""
        self._ascend()

    def _ascend(self) -> None:
        gradients = [images.grad for images in self._passed if images.grad is not None]
        if not gradients:
            return
        self._passed = []
        if self._rows is None or self.carried is None:  # an epoch on clean images
            return
        part, places = self._rows
        gradient, carried = gradients[-1], self.carried[part, places]
        # The ball around a grey image: what is carried is not of one image, whose range would cut it.
        grey = torch.full_like(carried, 0.5)
        step = self.threat.radius if self.step_size is None else self.step_size
        moved = self.threat.project(grey + carried + step * self.threat.steepest(gradient, carried), grey) - grey
        self.carried[part, of_all_processes(places)] = of_all_processes(moved)

    def _made(self, images: Tensor, parts: int, places: int) -> Tensor:
        """What is carried, with rows for so many places; it begins anew with images of another size."""
        kept = self.carried
        if kept is None or kept.shape[2:] != images.shape[1:]:
            kept = images.new_zeros(0, 0, *images.shape[1:])
        kept = kept.to(images.device)
        more = [max(0, wanted - there) for wanted, there in zip((parts, places), kept.shape, strict=False)]
        self.carried = F.pad(kept, (0, 0, 0, 0, 0, 0, 0, more[1], 0, more[0])) if any(more) else kept
        return self.carried
