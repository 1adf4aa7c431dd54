"""What a network gives, and the logits in it."""

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from toughen.errors import InputError
from toughen.models.mode import evaluating


def logits_in(output: Any) -> Any:
    """A tensor as it is; of a dict its `["logits"]`, of an object its `.logits`; anything else as it is.

    >>> logits_in({"logits": torch.zeros(2, 3), "features": None}).shape
    torch.Size([2, 3])
    """
    if isinstance(output, Tensor):
        return output
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    return found if isinstance(found, Tensor) else output


def giving_logits(model: nn.Module, images: Tensor) -> nn.Module:
    """The model, or, where it gives its logits among other things, a twin on the same tensors that gives them alone.

    The twin has the model's class, modules and names of weights. A model that cannot take the images stays as it is.

    Args:
        model: any network.
        images: a few, on its device.
    """
    try:
        with evaluating(model), torch.no_grad():
            output = model(images)
    except Exception:  # `check_outputs` says what is wrong
        return model
    if isinstance(output, Tensor) or not isinstance(logits_in(output), Tensor):
        return model
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError(
            f"the model is a TorchScript module that gives {kind(output)}; give it inside an nn.Module whose forward "
            "returns the logits alone"
        )
    return twin_giving_logits(model)


def twin_giving_logits(model: nn.Module) -> nn.Module:
    """A twin of the model, on the same tensors, that gives only the logits of what the model gives."""
    twin = copy.copy(model)
    twin._forward_hooks = OrderedDict(model._forward_hooks)
    twin.register_forward_hook(give_logits)
    return twin


def give_logits(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    """The hook of `giving_logits`."""
    return logits_in(output)


def kind(output: Any) -> str:
    """What an output is, in words: the shape of a tensor, what a container holds.

    >>> kind((torch.zeros(2, 3), None)), kind({"a": 1}), kind(torch.zeros(2, 3))
    ('a tuple of 2 ((2, 3), NoneType)', 'a dict of a', '(2, 3)')
    """
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} of {', '.join(map(str, output))}"
    if isinstance(output, list | tuple):
        parts = [str(tuple(item.shape)) if isinstance(item, Tensor) else type(item).__name__ for item in output]
        return f"a {type(output).__name__} of {len(output)} ({', '.join(parts)})"
    return f"a {type(output).__name__}"


def hint(output: Any, num_classes: int) -> str:
    """What to do about an output that is not N x num_classes."""
    if not isinstance(output, Tensor):
        here = "[0]" if isinstance(output, list | tuple) else ""
        return (
            "give the model inside a module whose forward returns the logits alone, such as `return self.model(images)"
            f"{here}` (an output's .logits or ['logits'] is found by itself)"
        )
    if num_classes == 2 and (output.ndim == 1 or output.shape[1:] == (1,)):
        return (
            "for a model with one logit z, such as one trained with binary cross-entropy, return the two logits "
            "torch.stack([torch.zeros_like(z), z], dim=1), z of shape (N,), whose softmax is (1 - sigmoid(z), "
            "sigmoid(z))"
        )
    if output.ndim > 2 and output.shape[1] == num_classes and output[0, 0].numel() == 1:
        return "flatten it in the forward: `return logits.flatten(1)`"
    return "set its number of classes (--model.num_classes)"
