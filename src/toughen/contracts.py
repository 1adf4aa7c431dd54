"""What public calls and constructors expect of what they are given, checked before anything is computed.

Shapes, types and devices are free to ask. `check_images` and `check_classes` read values, for which a GPU has to finish
its work: they belong where a person calls, not into a step of training.
"""

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from toughen import catalog
from toughen.errors import InputError
from toughen.numbers import Number
from toughen.threat import Norm, ThreatModel, as_threat

Kind = TypeVar("Kind")


def check_attack_call(
    model: Any,
    images: Any,
    labels: Any,
    threat: ThreatModel | None,
    generator: torch.Generator | None = None,
    *,
    eps: Number | None = None,
    norm: Norm | None = None,
) -> ThreatModel:
    """The threat model of a call of an attack whose arguments fit; see `as_threat`.

    Raises:
        InputError: the model cannot be called; images, labels, threat or generator do not fit.
    """
    check_model(model)
    check_images(images)
    check_labels(labels, images)
    if generator is not None:
        check_generator(generator, images.device)
    return as_threat(threat, eps, norm)


def check_model(model: Any) -> None:
    """Raise unless `model` is something that gives logits when it is called with images.

    Raises:
        InputError: a class instead of a network, weights instead of a network, or something else.
    """
    expected = "model: expected a network that gives logits (an nn.Module)"
    if isinstance(model, dict):
        raise InputError(f"{expected}, got a dict, as of weights; load them into a network with model.load_state_dict")
    if isinstance(model, type) or not callable(model):
        raise InputError(f"{expected}, got {_described(model)}")


def check_images(images: Any) -> None:
    """Raise unless `images` is a floating-point tensor, N x C x H x W, in [0, 1]. Reads values.

    Raises:
        InputError: naming what came and, for a range that looks like one, what to divide by.
    """
    check_image_form(images)
    if images.numel() == 0:
        return
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):
        hint = "divide by 255" if low >= 0 and high > 2 else "undo the normalisation: it is a layer of the model here"
        if low != low:
            hint = f"{int(images.isnan().flatten(1).any(1).sum())} of {len(images)} images hold NaN"
        raise InputError(f"images: expected values in [0, 1], got [{low:.4g}, {high:.4g}]; {hint}")


def check_image_form(images: Any) -> None:
    """Raise unless `images` is a floating-point tensor of shape N x C x H x W. Reads no value.

    Raises:
        InputError: naming what came.
    """
    if not isinstance(images, Tensor):
        raise InputError(
            f"images: expected a tensor, N x C x H x W in [0, 1], got {_described(images)}; use torch.as_tensor(images)"
        )
    if not images.is_floating_point():
        raise InputError(
            f"images: expected a floating-point tensor in [0, 1], got {images.dtype}; use images.float() / 255"
        )
    if images.ndim != 4:
        one = "; use images[None] for a single image" if images.ndim == 3 else ""
        raise InputError(f"images: expected N x C x H x W, got shape {tuple(images.shape)}{one}")


def check_labels(labels: Any, images: Tensor) -> None:
    """Raise unless `labels` holds a whole number for each image, on the images' device. Reads no value.

    Raises:
        InputError: naming what came.
    """
    if not isinstance(labels, Tensor):
        raise InputError(f"labels: expected an int64 tensor, got {_described(labels)}; use torch.as_tensor(labels)")
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise InputError(
            f"labels: expected int64 of shape ({len(images)},), got {labels.dtype} of shape {tuple(labels.shape)}"
            f"{_cure(labels, len(images))}"
        )
    if labels.device != images.device:
        raise InputError(
            f"labels: expected them on the images' device {images.device}, got {labels.device}; use "
            f'labels.to("{images.device}")'
        )


def check_classes(labels: Tensor, num_classes: int) -> None:
    """Raise unless every label is one of the classes. Reads values.

    Raises:
        InputError: with the lowest and the highest label.
    """
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise InputError(
            f"labels: expected values in 0 .. {num_classes - 1} for {num_classes} classes, got "
            f"{int(labels.min())} .. {int(labels.max())}"
        )


def check_generator(generator: Any, device: torch.device) -> None:
    """Raise unless `generator` can draw numbers on this device.

    Raises:
        InputError: something else, or a generator of another device.
    """
    if not isinstance(generator, torch.Generator):
        seed = f"torch.Generator().manual_seed({generator})" if isinstance(generator, int) else "torch.Generator()"
        raise InputError(f"generator: expected a torch.Generator, got {_described(generator)}; use {seed}")
    if generator.device.type != device.type:
        raise InputError(
            f"generator: expected one on the images' device {device}, got one on {generator.device}; use "
            f'torch.Generator("{device}").manual_seed(seed)'
        )


def check_logits(logits: Tensor, others: Tensor | None = None) -> None:
    """Raise unless `logits` is N x K, and `others` of the same shape: another one would be broadcast. Reads no value.

    Raises:
        InputError: naming what came.
    """
    if logits.ndim != 2 or (others is not None and others.shape != logits.shape):
        second = "" if others is None else f" and {tuple(others.shape)}"
        raise InputError(f"logits: expected N x K{second and ', twice'}, got shape {tuple(logits.shape)}{second}")


def check_target(logits: Tensor, target: Tensor) -> None:
    """Raise unless `target` holds int64 labels (N,), or a probability of every class, N x K. Reads no value.

    Raises:
        InputError: naming what came.
    """
    check_logits(logits)
    if target.shape == logits.shape and target.is_floating_point():
        return
    if target.dtype != torch.int64 or target.shape != logits.shape[:1]:
        raise InputError(
            f"labels: expected int64 of shape ({len(logits)},), or probabilities of shape {tuple(logits.shape)}, got "
            f"{target.dtype} of shape {tuple(target.shape)}{_cure(target, len(logits))}"
        )


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raise unless `value` is one of the values of a `Literal`.

    Raises:
        InputError: with all of them.

    >>> from typing import Literal
    >>> check_choice("attack.start", "middle", Literal["uniform", "clean"])
    Traceback (most recent call last):
        ...
    toughen.errors.InputError: attack.start: expected one of uniform, clean, got 'middle'
    """
    if value not in get_args(choices):
        raise InputError(f"{name}: expected one of {', '.join(map(str, get_args(choices)))}, got {value!r}")


def of_kind(name: str, value: Kind, kind: type) -> Kind:
    """The value, if it is an instance of `kind`.

    Raises:
        InputError: naming what came.
    """
    if not isinstance(value, kind):
        raise InputError(
            f"{name}: expected {_article(kind)} such as {_such(value, kind)}(...), got {_described(value)}"
        )
    return value


def check_arguments(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Raise unless every argument that a function's annotations want an object of some class for is one.

    Numbers, choices, callables and the threat model are left to checks of their own, which say more.

    Raises:
        InputError: naming the first other argument, what came and what to write.

    >>> def fit(method: "toughen.methods.Method") -> None: ...
    >>> import toughen.methods
    >>> check_arguments(fit, {"method": "trades"})
    Traceback (most recent call last):
        ...
    toughen.errors.InputError: method: expected a Method such as TRADES(...), got str 'trades'
    """
    hints = get_type_hints(function)
    for name, value in given.items():
        kinds = _classes(hints.get(name, Any))
        if not kinds or isinstance(value, kinds) or (Callable in kinds and callable(value)):
            continue
        kind = next(each for each in kinds if each is not NoneType)
        text = f"{_article(kind)} such as {_such(value, kind)}(...)"
        if kind is str:
            text = "a path as text"
        elif Callable in kinds:
            text = f"a class such as {_such(value, kind)}, or a functools.partial of one"
        raise InputError(f"{name}: expected {text}, got {_described(value)}")


def _classes(hint: Any) -> tuple[Any, ...]:
    """The classes that a hint is made of, with `Callable` for those to be; none where something else is allowed too."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    made = [get_args(each)[1] for each in parts if get_origin(each) is Callable]
    parts = (*made, *([Callable] if made else []), *(each for each in parts if get_origin(each) is not Callable))
    plain = all(isinstance(each, type) and not get_args(each) for each in parts if each is not Callable)
    protocols = any(getattr(each, "_is_protocol", False) for each in parts)
    return parts if plain and not protocols and not {Any, bool, int, float, object, ThreatModel} & {*parts} else ()


def _such(value: Any, kind: type) -> str:
    """An example of this kind: the class that the value names, if it names one."""
    names = catalog.kind_of(kind)
    known = {} if names is None else {catalog.folded(name): name for name in catalog.classes(names)}
    asked = value.__name__ if isinstance(value, type) else value if isinstance(value, str) else ""
    return known.get(catalog.folded(asked), next(iter(known.values()), kind.__name__))


def _article(kind: type) -> str:
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"


def _described(value: Any) -> str:
    """What something is, in a line."""
    if isinstance(value, type):
        return f"the class {value.__name__}; write {value.__name__}() to build one"
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 40 and "\n" not in text else type(value).__name__


def _cure(labels: Tensor, n: int) -> str:
    if labels.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32) and labels.shape == (n,):
        return "; use labels.long()"
    if labels.shape == (n, 1) and not labels.is_floating_point():
        return "; use labels.squeeze(1)"
    if labels.ndim == 2 and len(labels) == n:
        return "; use labels.argmax(1) of one-hot labels"
    return ""
