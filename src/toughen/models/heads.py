"""The last layer of a network that gets weights for other classes, or for the same in another order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from toughen.models.class_names import matching


@dataclass(frozen=True)
class Head:
    """What becomes of the last layer.

    Attributes:
        tensors: those of it that are not the weights' as they are, by name.
        sentence: what was done, for a person; empty where it is as the weights have it.
        same_classes: whether every class has trained rows in it.
    """

    tensors: dict[str, Tensor]
    sentence: str
    same_classes: bool


def fitted_head(
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    theirs: Sequence[str] | None,
    ours: Sequence[str] | None,
) -> Head:
    """The last layer for our classes, with the rows of those that the weights know by the same names.

    Args:
        tensors: the new network's.
        state: the weights, by the same names.
        theirs: the names of the weights' classes, in the order of the rows; None where nobody knows them.
        ours: those of the network's.
    """
    names = _differing(tensors, state)
    known = theirs is not None and ours is not None
    if not names and known and list(theirs or ()) != list(ours or ()):
        last = _last_layer(tensors, len(ours or ()))
        names = last if all(name in state and len(state[name]) == len(theirs or ()) for name in last) else []
    if not names:
        return Head({}, "", True)
    count = next((len(state[name]) for name in names if name in state), None)
    rows = matching(theirs or (), ours or ()) if known and count == len(theirs or ()) else {}
    made = {name: tensors[name].clone() for name in names}
    for name, tensor in made.items():
        for here, there in rows.items():
            tensor[here] = state[name][there]
    layer = f"the last layer ({', '.join(names)})"
    missing = [name for place, name in enumerate(ours or ()) if place not in rows]
    if not rows:
        other = " of other names" if known and count == len(ours or ()) else ""
        of = f"{'no' if count is None else count} classes{other}"
        return Head(made, f"{layer} is new: the weights are for {of}", False)
    rest = f", and new ones for {_listed(missing)}" if missing else ""
    return Head(made, f"{layer} has the rows of {len(rows)} classes, by their names{rest}", not missing)


def _differing(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """The tensors that differ in their number of classes alone, or the last layer's that the weights lack.

    None where more differs than that. Several layers may: a second head that was distilled, or one for training alone.
    """
    missing = [name for name in tensors if name not in state]
    if missing and set(missing) == set(_last_layer(tensors, _rows(tensors[missing[-1]]))):
        return missing
    other = [name for name, each in tensors.items() if name in state and state[name].shape != each.shape]
    counts = {(_rows(tensors[name]), _rows(state[name])) for name in other}
    if len(counts) != 1 or any(state[name].shape[1:] != tensors[name].shape[1:] for name in other):
        return []
    return other if set(_last_layer(tensors, _rows(tensors[other[0]]))) <= set(other) else []


def _last_layer(tensors: Mapping[str, Tensor], classes: int) -> list[str]:
    """The tensors of the last layer that has a row a class."""
    fitting = [name for name, each in tensors.items() if _rows(each) == classes]
    layer = fitting[-1].rpartition(".")[0] if fitting else None
    return [name for name in fitting if name.rpartition(".")[0] == layer]


def _rows(tensor: Tensor) -> int:
    return len(tensor) if tensor.ndim else 0


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} others" if names[5:] else "")
