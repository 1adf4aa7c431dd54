"""One published method a file. A method can be imported from here by being there: nothing is registered."""

import importlib
from typing import Any

from toughen import catalog
from toughen.methods.guide import Guide
from toughen.methods.method import Method, Perturbed, Term, Terms, total, weighted
from toughen.methods.step import ModelWithLoss

__all__ = ["Guide", "Method", "ModelWithLoss", "Perturbed", "Term", "Terms", "total", "weighted"]


def __getattr__(name: str) -> Any:
    if name not in catalog.classes("methods"):
        raise AttributeError(f"module 'toughen.methods' has no attribute {name!r}")
    return getattr(importlib.import_module(catalog.classes("methods")[name].path.rpartition(".")[0]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *catalog.classes("methods")])
