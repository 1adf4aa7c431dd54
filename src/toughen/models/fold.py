"""A network's eval-mode forward as fast as it goes: BatchNorm folded into convolutions, weights in one dtype.

During an inner maximum the weights stand still and BatchNorm is a fixed scale and shift, so
`BN(conv(x)) = conv'(x)` with `w' = w gamma / sqrt(var + eps)` and `b' = beta + (b - mean) gamma / sqrt(var + eps)`. The
replica holds such weights, already cast, where autocast would cast them again in every forward pass.

That is true of a convolution's weight that is its own parameter and nothing else. A weight that is computed (spectral
or weight norm, pruning, weight standardisation, low-rank sums), shared, or used elsewhere keeps its BatchNorm. And
whatever the form, a replica is believed only after it has given the network's logits and gradients with weights and
statistics that it was not made with: see `fold` and `agrees`.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Optional, cast

import torch
from torch import Tensor, fx, nn

from toughen.hardware.precision import tf32
from toughen.models.build import Normalize
from toughen.models.layout import ContiguousConv2d, lay_out
from toughen.models.mode import evaluating
from toughen.models.rewrite import cast_around, relu_in_place
from toughen.models.state import copied

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, ContiguousConv2d)
_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Tracer(fx.Tracer):
    """Treats the input normalisation as one piece: it stays in fp32. So it does every convolution."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Normalize | nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


class FoldedReplica(nn.Module):
    """A copy of a network for forward passes in eval mode, differentiable with respect to images only.

    `refresh()` takes over the network's present weights and statistics; call it after every update.

    Attributes:
        exact: the same in fp32, for what a narrower `dtype` rounds away; None where nobody gave one. See `exactly`.
        linearises: whether `linearised` was tried on it and goes.

    Args:
        model: the network that is followed.
        dtype: that of weights and activations; the input normalisation is computed in fp32, and logits come out in it.
        memory_format: layout of the convolutions' weights.

    Raises:
        Exception: whatever tracing raises for a network whose forward depends on values; see `fold`.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.exact: Optional[FoldedReplica] = None  # noqa: UP045 - the class is not there yet
        self._asked_exactly, self.linearises = False, False
        with evaluating(model):
            graph = _Tracer().trace(model)
            traced = fx.GraphModule(model, graph)
        replica = copied(traced).eval().requires_grad_(False)
        self._pairs: list[tuple[Convolution, nn.BatchNorm2d, Convolution]] = []
        self._copied: list[tuple[Tensor, nn.Module, str]] = []
        folded = self._fold_pairs(model, replica)
        cast_around(replica, dtype)
        relu_in_place(replica)
        replica.recompile()
        replica.delete_all_unused_submodules()
        for name, module in replica.named_modules():
            if not isinstance(module, Normalize):
                _cast_own(module, dtype, memory_format)
            if name not in folded:
                self._follow(model.get_submodule(name), module)
        self.replica = replica
        self.refresh()

    def _fold_pairs(self, model: nn.Module, replica: fx.GraphModule) -> set[str]:
        """Let a convolution that feeds only a BatchNorm do its work too; the names of those convolutions."""
        modules = dict(replica.named_modules())
        calls = [str(node.target) for node in replica.graph.nodes if node.op == "call_module"]
        read = [str(node.target) for node in replica.graph.nodes if node.op == "get_attr"]
        owners = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
        folded = set()
        for node in list(replica.graph.nodes):
            if node.op != "call_module" or not isinstance(modules[str(node.target)], _NORMALISATIONS):
                continue
            before = node.args[0]
            if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
                continue
            name, norm_name = str(before.target), str(node.target)
            convolution, norm = modules[name], cast(nn.BatchNorm2d, modules[norm_name])
            # A layer that is called twice cannot do the work of a BatchNorm that follows one of the calls.
            once = calls.count(name) == 1 and calls.count(norm_name) == 1
            own = all(_is_plain(model.get_submodule(each), owners) for each in (name, norm_name))
            elsewhere = any(target.startswith((f"{name}.", f"{norm_name}.")) for target in read)
            if type(convolution) not in _CONVOLUTIONS or norm.running_mean is None or not once or not own or elsewhere:
                continue
            if convolution.bias is None:
                zeros = torch.zeros_like(norm.running_mean)
                convolution.register_parameter("bias", nn.Parameter(zeros, requires_grad=False))
            source = cast(Convolution, model.get_submodule(name))
            self._pairs.append((source, cast(nn.BatchNorm2d, model.get_submodule(norm_name)), convolution))
            node.replace_all_uses_with(before)
            replica.graph.erase_node(node)
            folded.add(name)
        return folded

    def _follow(self, source: nn.Module, target: nn.Module) -> None:
        for kind in ("_parameters", "_buffers"):
            for name, tensor in getattr(target, kind).items():
                if tensor is not None and getattr(source, kind).get(name) is not None:
                    self._copied.append((tensor, source, name))

    @torch.no_grad()
    def refresh(self) -> "FoldedReplica":
        """Take over the network's present weights and statistics."""
        for target, source, name in self._copied:
            # By name: a model may have been given other tensors since.
            target.copy_(getattr(source, name))
        for convolution, norm, folded in self._pairs:
            assert norm.running_mean is not None and norm.running_var is not None and folded.bias is not None
            scale = torch.rsqrt(norm.running_var + norm.eps)
            if norm.weight is not None:
                scale = scale * norm.weight
            folded.weight.copy_(convolution.weight * scale.view(-1, *[1] * (convolution.weight.ndim - 1)))
            shift = -norm.running_mean if convolution.bias is None else convolution.bias - norm.running_mean
            folded.bias.copy_(shift * scale if norm.bias is None else norm.bias + shift * scale)
        if self.exact is not None:
            self.exact.refresh()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits, fp32."""
        if self._asked_exactly and self.exact is not None:
            return self.exact(images)
        return self.replica(images)


@contextmanager
def exactly(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Inside, a network computes in fp32: without autocast or TF32, and a replica through its fp32 companion.

    For what rounding would drown.

    Args:
        model: the network, or one that holds it.
        images: a batch, on the device on which it computes.
    """
    replicas = [module for module in model.modules() if isinstance(module, FoldedReplica)]
    for replica in replicas:
        replica._asked_exactly = True
    try:
        with torch.autocast(images.device.type, enabled=False), tf32(images.device, False):
            yield
    finally:
        for replica in replicas:
            replica._asked_exactly = False


def _is_plain(module: nn.Module, owners: Counter[int]) -> bool:
    """Whether a layer computes with its own parameters as they stand: no hook, no parametrization, nothing shared.

    Args:
        module: the layer.
        owners: number of modules that have each parameter of the network, by the parameter's id.
    """
    # Hooks of all modules are called by those that are left, and would miss the folded BatchNorm.
    hooks = (
        *(module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks, module._backward_hooks),
        *(_global_hooks(kind) for kind in ("forward_pre", "forward", "backward_pre", "backward")),
    )
    parameters = [parameter for parameter in module._parameters.values() if parameter is not None]
    alone = all(owners[id(parameter)] == 1 for parameter in parameters)
    # An instance's own forward, and children such as `parametrizations`, change what it computes.
    return not any(hooks) and alone and "forward" not in vars(module) and not list(module.children())


def _global_hooks(kind: str) -> dict[int, object]:
    """Those registered for every module, such as by `torch.nn.modules.module.register_module_forward_hook`."""
    return getattr(nn.modules.module, f"_global_{kind}_hooks")


def _cast_own(module: nn.Module, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    for kind in ("_parameters", "_buffers"):
        tensors = getattr(module, kind)
        for name, tensor in tensors.items():
            if tensor is not None and tensor.is_floating_point():
                layout = memory_format if tensor.ndim == 4 else torch.contiguous_format
                moved = tensor.detach().to(dtype=dtype, memory_format=layout)
                tensors[name] = nn.Parameter(moved, requires_grad=False) if kind == "_parameters" else moved


def fold(
    model: nn.Module, images: Tensor, dtype: torch.dtype, memory_format: torch.memory_format = torch.channels_last
) -> FoldedReplica | None:
    """A replica of `model`, or None where its forward cannot be traced or the replica is not the same function.

    It is tried on a copy of the network: the replica is made, then all weights and statistics of the copy are changed
    (a new network's BatchNorms are the identity, on which every replica is right), and the replica has to follow.

    Args:
        model: the network to follow.
        images: a few images to compare the two on.
        dtype: that of the replica.
        memory_format: that of the replica.
    """
    try:
        trial = copied(model)
        exact = FoldedReplica(trial, torch.float32, memory_format)
        _disturb(trial)
        if not agrees(trial, exact.refresh(), images, torch.float32):
            return None
        replica = FoldedReplica(model, dtype, memory_format)
        if not agrees(model, replica, images, dtype):
            return None
        if dtype == torch.float32:
            lay_out(replica, images, memory_format, dtype)
        return replica
    except Exception:
        return None


@torch.no_grad()
def _disturb(model: nn.Module) -> None:
    """Change every weight a little, and every BatchNorm a lot, in place."""
    generator = torch.Generator().manual_seed(0)

    def noise(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator).to(tensor)

    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.mul_(1 + 0.1 * noise(parameter))
    for norm in model.modules():
        if isinstance(norm, _NORMALISATIONS):
            if norm.running_mean is not None and norm.running_var is not None:
                norm.running_mean.add_(0.3 * noise(norm.running_mean) * norm.running_var.sqrt())
                norm.running_var.mul_((0.4 * noise(norm.running_var)).exp())
            if norm.weight is not None:
                norm.weight.mul_((0.2 * noise(norm.weight)).exp())
                norm.bias.add_(0.2 * noise(norm.bias))


def agrees(model: nn.Module, replica: nn.Module, images: Tensor, dtype: torch.dtype) -> bool:
    """Whether a replica gives the network's eval-mode logits and their gradients with respect to the images.

    Compared are the logits, and the gradient of their sum with fixed random weights, each by the l2 norm of the
    difference in parts of the network's own norm: 0.1 % and 10 % in fp32 (a few ReLUs near 0 fall on either side), 20 %
    and 50 % in bf16 (whose rounding costs some per cent). A replica that has an fp32 companion, which is made by the
    same rules, is held to the strict limits through it as well. The network itself computes in fp32.

    Args:
        model: the network, in any mode; left as it is.
        replica: the copy, with the network's present weights.
        images: a few, N x C x H x W.
        dtype: that of the replica.
    """
    companion = replica.exact if isinstance(replica, FoldedReplica) else None
    if companion is not None and not agrees(model, companion, images, torch.float32):
        return False
    limits = (1e-3, 0.1) if dtype == torch.float32 else (0.2, 0.5)

    def logits_and_gradient(network: nn.Module) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = images.detach().clone().requires_grad_()
            logits = network(x).float()
            weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)).to(logits)
            return logits.detach(), torch.autograd.grad((logits * weights).sum(), x)[0]

    with evaluating(model), exactly(model, images):
        expected = logits_and_gradient(model)
    with exactly(replica, images) if dtype == torch.float32 else nullcontext():
        found = logits_and_gradient(replica)
    return all(
        one.shape == other.shape and bool((one - other).norm() <= limit * other.norm())
        for one, other, limit in zip(found, expected, limits, strict=True)
    )
