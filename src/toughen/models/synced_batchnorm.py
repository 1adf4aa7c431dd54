"""BatchNorm over the images of all processes."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from toughen.errors import InputError

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        """The sum."""
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """The sum of the gradients."""
        return _Sum.forward(context, gradient.contiguous())


class SyncedBatchNorm(_BatchNorm):
    """On CPUs what torch's SyncBatchNorm, which they have not, is on GPUs: its batch is that of all processes.

    The gradients of its statistics go to the images of all processes too. Names and values of the weights are those of
    the BatchNorm that it stands for.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any."""

    def forward(self, input: Tensor) -> Tensor:
        """The images of this process, normalised by the statistics of all."""
        if not self.training or not dist.is_initialized():
            return super().forward(input)
        images = input.to(torch.promote_types(input.dtype, torch.float32))  # bf16 cannot sum a batch
        over = [0, *range(2, images.ndim)]
        place = (1, -1, *(1 for _ in over[1:]))
        number = images.new_tensor([images.numel() / images.shape[1]])
        sums = _Sum.apply(torch.cat([images.sum(over), number]))
        count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        centred = images - mean.view(place)
        variance = _Sum.apply(centred.square().sum(over)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        normalised = centred * (variance + self.eps).rsqrt().view(place)
        if self.weight is None or self.bias is None:
            return normalised.to(input.dtype)
        return (normalised * self.weight.view(place) + self.bias.view(place)).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def synced_batch_norms(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with every BatchNorm in it, in place, made one over all processes; it may be one itself.

    Raises:
        InputError: a BatchNorm that does more than torch's, such as timm's BatchNormAct2d.
    """
    if type(module) in _PLAIN:
        return _synced(module, SyncedBatchNorm if device.type == "cpu" else nn.SyncBatchNorm)
    if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
        raise InputError(
            f"--sync_batchnorm: the network's {type(module).__name__} is not torch's BatchNorm, and may do more; "
            "convert it by its own library first (timm.layers.convert_sync_batchnorm), or leave --sync_batchnorm out"
        )
    for name, child in module.named_children():
        module.add_module(name, synced_batch_norms(child, device))
    return module


def _synced(norm: nn.Module, kind: type[_BatchNorm]) -> _BatchNorm:
    assert isinstance(norm, _BatchNorm)
    synced = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(synced, name, getattr(norm, name))
    return synced.train(norm.training)
