"""What tells one network from another: its class, and hashes of its weights and of its code."""

import hashlib
from typing import Any

from torch import nn

from toughen.models.fingerprint import fingerprint, tensor_bytes
from toughen.models.state import split_state
from toughen.settings.description import path_of


def model_facts(model: nn.Module) -> dict[str, Any]:
    """Class, number of parameters, and two SHA-256.

    `sha256` is over names, types, shapes and bytes of the state dict, and what else it holds. `code_sha256` is over
    what else the outputs depend on, as far as it can be seen from outside; see `fingerprint`.
    """
    digest = hashlib.sha256()
    tensors, rest = split_state(model)
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor))
    for name, value in rest.items():
        digest.update(f"{name} {fingerprint(value)}\n".encode())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "class": path_of(type(model)),
        "parameters": parameters,
        "sha256": digest.hexdigest(),
        "code_sha256": _code_hash(model),
    }


def _code_hash(model: nn.Module) -> str:
    saved = set(model.state_dict())
    buffers = {id(tensor) for name, tensor in model.named_buffers() if name in saved}
    return fingerprint(model, frozenset(buffers | {id(parameter) for parameter in model.parameters()}))
