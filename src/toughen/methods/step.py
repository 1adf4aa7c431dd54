"""A network and the method that trains it, as one module."""

from torch import Tensor, nn

from toughen.batch import Batch
from toughen.methods.method import Method
from toughen.models.outputs import twin_giving_logits


class Together(nn.Module):
    """A network and a method, so that an optimiser, a checkpoint or data parallelism sees the parameters of both.

    Attributes:
        model: the network, prepared by the method.
        method: the method, bound to its threat model.
    """

    def __init__(self, model: nn.Module, method: Method) -> None:
        super().__init__()
        self.model = model
        self.method = method
        # torch's name for what data parallelism does not broadcast from the first process in every step.
        self._ddp_params_and_buffers_to_ignore = [f"method.{name}" for name in method.memories]


class ModelWithLoss(Together):
    """A network whose forward pass gives the loss of a method, inner maximum included, for a loop of your own.

    `loss = step(images, labels)` is `method(model, images, labels)` as one module. Give that module to what wraps
    modules (DistributedDataParallel, `Accelerator.prepare`, a trainer): the attack then runs on the bare network, and
    all forward passes of a step are one to the wrapper, as it expects. `parameters()` and `state_dict()` have what
    the method learns and remembers too.

    Args:
        model: gives logits, or something that has them, as networks of transformers do; `prepare` of the method is
            called with it. A method with a memory of every image has `allocate_memory` called before.
        method: bound to its threat model by `under`.

    >>> import torch
    >>> from toughen.methods import TRADES
    >>> step = ModelWithLoss(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), TRADES().under(eps="8/255"))
    >>> step(torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])).shape
    torch.Size([])
    """

    def __init__(self, model: nn.Module, method: Method) -> None:
        super().__init__(method.prepare(twin_giving_logits(model)), method)

    def begin_epoch(self, epoch: int, images: Tensor, labels: Tensor) -> None:
        """To be called before every epoch, counted from 0, with up to 1,000 training images, not augmented."""
        self.method.begin_epoch(self.model, epoch, Batch(images, labels))

    def after_update(self) -> None:
        """To be called after every `optimizer.step()`, for methods that follow the network's weights."""
        self.method.after_update(self.model)

    @property
    def classifier(self) -> nn.Module:
        """The ordinary network to evaluate and save, which shares its weights with the trained one."""
        return self.method.inference_model(self.model)

    def forward(
        self,
        images: Tensor,
        labels: Tensor,
        indices: Tensor | None = None,
        views: tuple[Tensor, ...] = (),
    ) -> Tensor:
        """The loss, a scalar ready for `backward()`.

        Args:
            images: float in [0, 1], N x C x H x W.
            labels: int64, (N,).
            indices: int64, (N,), each image's place in the training set, for methods with a memory of every image.
            views: further augmented versions of the images, each like `images`, for methods that ask for some.
        """
        if views:
            return self.method(self.model, Batch(images, labels, indices, views=views))
        return self.method(self.model, images, labels, indices)
