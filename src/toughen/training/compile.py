"""torch.compile for a network's passes, without recompiling from step to step."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from toughen.errors import InputError
from toughen.models.outputs import give_logits, logits_in
from toughen.models.split_batchnorm import SplitBatchNorm


class CompiledPasses:
    """A network whose forward is compiled inside `on()`, and runs as it stands elsewhere.

    Code is compiled for full batches, one or several together. A batch of another size, such as an epoch's last one,
    and a pass whose layers are being watched by hooks, go through the plain forward: both would need other code.
    On a GPU the code is replayed as CUDA graphs, unless gradients are to outlive a step: they lie in a graph's memory,
    and torch's next replay writes over them (pytorch/pytorch#169545).

    Args:
        network: a network of any architecture; its own `forward` is not touched.
        batch_size: images of a full batch of this process.
        accumulating: whether weights keep their gradients from one batch to the next.

    Raises:
        InputError: the network chooses among its layers by something that a compiler does not see.
    """

    def __init__(self, network: nn.Module, batch_size: int, accumulating: bool = False) -> None:
        if any(isinstance(module, SplitBatchNorm) for module in network.modules()):
            raise InputError(
                "--compile: the network has two branches of BatchNorm, chosen from outside, which torch.compile does "
                "not see; leave --compile out"
            )
        self.network, self.batch_size = network, batch_size
        self.plain = network.forward
        self.graphs = not accumulating and any(weight.is_cuda for weight in network.parameters())
        mode = "reduce-overhead" if self.graphs else None
        self.compiled = torch.compile(network.forward, dynamic=False, mode=mode)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Send the network's calls through compiled code inside."""
        self.network.forward = self._forward
        try:
            yield
        finally:
            del self.network.forward

    def _forward(self, images: Tensor) -> Tensor:
        if len(images) % self.batch_size or _watched(self.network):
            return self.plain(images)
        try:
            logits: Tensor = logits_in(self.compiled(images))
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise InputError(f"--compile: torch cannot compile the network: {reason}; leave --compile out") from error
        # The next replay of a graph writes over its outputs.
        return logits.clone() if self.graphs else logits


@contextmanager
def room_for(graphs: int) -> Iterator[None]:
    """Let torch keep compiled code for so many kinds of calls of one function, where it gives up after eight."""
    name = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"  # torch 2.6
    with torch._dynamo.config.patch({name: graphs}):
        yield


def _watched(network: nn.Module) -> bool:
    # `give_logits` watches nothing: it takes the logits out of what compiled code gave.
    after = (hook for module in network.modules() for hook in module._forward_hooks.values())
    return any(hook is not give_logits for hook in after) or any(m._forward_pre_hooks for m in network.modules())
