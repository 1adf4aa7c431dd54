"""Two BatchNorms in place of each one, so that clean and adversarial images share all weights but these."""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from toughen.errors import InputError, did_you_mean
from toughen.models.state import kept_tensors

Branch = Literal["clean", "adversarial"]

# A choice belongs to the code that is running, as torch.no_grad does, and not to the layer: other threads keep
# theirs, a copied layer has none, and leaving a block cannot undo anything but that block.
_ON_CLEAN: ContextVar[frozenset[int]] = ContextVar("layers that use their clean branch", default=frozenset())


class SplitBatchNorm(nn.Module):
    """A BatchNorm for clean images and one for adversarial images; which one is used is chosen by `branch`.

    Takes and gives what the BatchNorm takes and gives. Attributes of a BatchNorm (`weight`, `num_features`, ...)
    are those of the branch in use.

    Args:
        clean: the BatchNorm of the clean branch.
        adversarial: the one of the adversarial branch, in use unless another is chosen.
    """

    def __init__(self, clean: nn.Module, adversarial: nn.Module) -> None:
        super().__init__()
        self.clean = clean
        self.adversarial = adversarial
        self.training = adversarial.training

    @property
    def chosen(self) -> nn.Module:
        """The BatchNorm in use."""
        return self.clean if id(self) in _ON_CLEAN.get() else self.adversarial

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the BatchNorm in use makes of its input."""
        return self.chosen(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__") or "adversarial" not in self.__dict__.get("_modules", {}):
                raise
            return getattr(self.chosen, name)


@contextmanager
def branch(model: nn.Module, name: Branch) -> Iterator[None]:
    """Use one branch of every split BatchNorm of `model` inside; afterwards, also after an error, the former one.

    Blocks may be nested, and each thread has its own choice. Without one the adversarial branch is used. A network that
    is not split has one branch for both names. Activation checkpointing runs layers again during `backward()`,
    which must then lie inside the block too.

    Raises:
        InputError: an unknown name.

    >>> model = split_batch_norms(nn.Sequential(nn.BatchNorm1d(2)))
    >>> with branch(model, "clean"):
    ...     model[0].chosen is model[0].clean
    True
    """
    if name not in get_args(Branch):
        raise InputError(f"branch: unknown name {name!r}; {did_you_mean(str(name), get_args(Branch))}")
    layers = frozenset(id(layer) for layer in _split_layers(model))
    on_clean = _ON_CLEAN.get()
    former = _ON_CLEAN.set(on_clean | layers if name == "clean" else on_clean - layers)
    try:
        yield
    finally:
        _ON_CLEAN.reset(former)


def branches_kept() -> Callable[[], AbstractContextManager[None]]:
    """A context in which, wherever and in whatever thread it is entered, the branches are those of now."""
    on_clean = _ON_CLEAN.get()

    @contextmanager
    def as_they_were() -> Iterator[None]:
        former = _ON_CLEAN.set(on_clean)
        try:
            yield
        finally:
            _ON_CLEAN.reset(former)

    return as_they_were


def split_batch_norms(model: nn.Module) -> nn.Module:
    """The same network with two BatchNorms in place of each one.

    Its code is not touched, and any kind of BatchNorm is split: 1d, 2d, 3d, SyncBatchNorm, subclasses such as timm's
    BatchNormAct2d, and a class of one's own that keeps a `running_mean` and a `running_var`. A layer that is used in
    several places stays one layer there.

    Args:
        model: the network; it is not changed. A network that is split already stays as it is.

    Returns:
        A network of the same structure on the same parameters and buffers. Only the clean branches are new: they
        start as copies. Its state dict has `bn1.clean.weight` and `bn1.adversarial.weight` for `bn1.weight`.

    Raises:
        InputError: no BatchNorm in it, one that waits for its first batch (LazyBatchNorm), a TorchScript module, or a
            network that cannot be copied.
    """
    already = {id(module) for layer in _split_layers(model) for module in layer.modules()}
    layers = [module for module in model.modules() if is_batch_norm(module) and id(module) not in already]
    if not layers and already:
        return model
    _check(model, layers)
    shared = _tensors(model)
    copies: dict[int, Any] = {}  # one for all layers, so that tied parameters are tied in the clean branch too
    split: dict[int, nn.Module] = {
        id(layer): SplitBatchNorm(copy.deepcopy(layer, copies), copy.deepcopy(layer, dict(shared))) for layer in layers
    }
    return _rebuilt(model, shared, split)


def merge_batch_norms(model: nn.Module, name: Branch = "adversarial") -> nn.Module:
    """The ordinary network of one branch, as it was before it was split.

    Args:
        model: a network made by `split_batch_norms`; it is not changed. Any other stays as it is.
        name: the branch to keep.

    Returns:
        A network without split layers on the same parameters and buffers (until either is moved to another
        device), with the names of the original in its state dict.
    """
    layers = _split_layers(model)
    if not layers:
        return model
    shared = _tensors(model)
    kept = {id(layer): copy.deepcopy(layer.get_submodule(name), dict(shared)) for layer in layers}
    return _rebuilt(model, shared, kept)


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a layer normalises with statistics of batches: a torch BatchNorm, or one written from scratch."""
    if isinstance(module, _BatchNorm):
        return True
    buffers = dict(module.named_buffers(recurse=False))
    return {"running_mean", "running_var"} <= buffers.keys() and not isinstance(module, _InstanceNorm)


def _split_layers(model: nn.Module) -> list[SplitBatchNorm]:
    return [module for module in model.modules() if isinstance(module, SplitBatchNorm)]


def _check(model: nn.Module, layers: list[nn.Module]) -> None:
    kind = type(model).__name__
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise InputError(
            f"{kind} is a TorchScript module, whose layers cannot be replaced; split it before torch.jit.script"
        )
    if not layers:
        raise InputError(f"{kind} has no BatchNorm layer to split; train it without (--method.split_bn false)")
    for layer in layers:
        if any(is_lazy(tensor) for tensor in (*layer.parameters(), *layer.buffers())):
            raise InputError(
                f"{kind} has a {type(layer).__name__} that has seen no batch; run one through the network first"
            )


def _tensors(model: nn.Module) -> dict[int, Any]:
    """What a copy shares, as deepcopy's memo: parameters, buffers and tensors kept as plain attributes."""
    return {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers(), *kept_tensors(model))}


def _rebuilt(model: nn.Module, shared: dict[int, Any], replaced: dict[int, nn.Module]) -> nn.Module:
    """A copy of the network's structure with some modules replaced, wherever and however they are referred to."""
    try:
        return copy.deepcopy(model, {**shared, **replaced})
    except (TypeError, RuntimeError) as error:
        raise InputError(
            f"{type(model).__name__} cannot be copied: {error}; expected a network that copy.deepcopy takes"
        ) from error
