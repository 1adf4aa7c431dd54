"""What a network consists of: its tensors, what else its state dict holds, and copies of all of it."""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from toughen.errors import InputError

M = TypeVar("M", bound=nn.Module)


def split_state(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A state dict's tensors, and the rest: `get_extra_state`'s values and what quantised layers keep."""
    state = model.state_dict()
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in state.items() if name not in tensors}


def extra_as_text(model: nn.Module) -> dict[str, str]:
    """What a state dict holds beside tensors, each as JSON, to be kept with the weights.

    Raises:
        InputError: something that JSON does not give back as it was.
    """
    texts = {}
    for name, value in split_state(model)[1].items():
        try:
            texts[name] = json.dumps(value)
            same = json.loads(texts[name]) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            raise InputError(
                f"{type(model).__name__}'s state dict holds {name!r}, a {type(value).__name__}, which cannot be kept "
                "with the weights; expected tensors, and of get_extra_state() a tensor, or numbers, texts, lists and "
                "dicts of them by texts; quantise after training"
            )
    return texts


def check_values(model: nn.Module) -> None:
    """Raise where a network has tensors without values.

    Raises:
        InputError: they are on the meta device, or wait for the first batch.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise InputError(
                f"the model's {name} waits for its first batch (a lazy layer); run one through the model first"
            )
        if tensor.is_meta:
            raise InputError(
                f"the model's {name} is on the meta device, where tensors have no values; build it without "
                "torch.device('meta'), or call model.to_empty(device='cpu') and load its weights"
            )


def copied(model: M) -> M:
    """A copy of a network, with tensors of its own.

    Tensors that the network computed and keeps, such as old-style `weight_norm`'s weight or the features of its last
    batch, are copied by value.

    Raises:
        InputError: tensors without values (see `check_values`), or something in it that `copy.deepcopy` does not take.
    """
    check_values(model)
    # deepcopy refuses a tensor that has a history.
    values = {id(tensor): tensor.detach().clone() for tensor in kept_tensors(model) if not tensor.is_leaf}
    memo: dict[int, Any] = dict(values)
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # whatever the network's own attributes raise
        raise InputError(
            f"{type(model).__name__} cannot be copied: {type(error).__name__}: {error}; expected a network that "
            "copy.deepcopy takes: give it the attribute anew in a __deepcopy__ of its own, or take the attribute away"
        ) from error


def kept_tensors(model: nn.Module) -> Iterator[Tensor]:
    """The tensors that modules keep as plain attributes, in lists and dicts too; no parameters, no buffers."""
    for module in model.modules():
        plain = {name: value for name, value in vars(module).items() if name not in ("_parameters", "_buffers")}
        yield from _tensors_in(plain)


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors_in(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _tensors_in(item)
