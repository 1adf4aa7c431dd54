"""One training step as data parallelism sees it."""

from torch import nn

from toughen.batch import Batch
from toughen.methods import Method, Perturbed, Terms


class Step(nn.Module):
    """All terms of a step as one forward, so that data parallelism sees one call whatever the method computes."""

    def __init__(self, model: nn.Module, method: Method) -> None:
        super().__init__()
        self.model = model
        self.method = method
        # torch's name for what data parallelism does not broadcast from the first process in every step.
        self._ddp_params_and_buffers_to_ignore = [f"method.{name}" for name in method.memories]

    def forward(self, batch: Batch, perturbed: Perturbed) -> Terms:
        """The method's terms on this batch."""
        return self.method.terms(self.model, batch, perturbed)
