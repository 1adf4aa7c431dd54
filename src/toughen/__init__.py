"""Train image classifiers to withstand adversarial examples, and say honestly how far they do.

    import toughen
    trained = toughen.train(method=toughen.methods.TRADES(beta=6), threat=toughen.ThreatModel("linf", "8/255"))

Importing the package imports neither torch nor anything else that is slow: names are loaded when they are used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from toughen._version import __version__

if TYPE_CHECKING:
    from toughen import attacks, data, evaluation, methods, models
    from toughen.batch import Batch
    from toughen.commands.compare import compare
    from toughen.commands.evaluate import evaluate
    from toughen.commands.merge import merge
    from toughen.commands.train import train, train_seeds
    from toughen.commands.tune_batch import tune_batch
    from toughen.errors import ToughenError
    from toughen.threat import ThreatModel

_HOME = {
    "Batch": "toughen.batch",
    "ThreatModel": "toughen.threat",
    "ToughenError": "toughen.errors",
    "compare": "toughen.commands.compare",
    "evaluate": "toughen.commands.evaluate",
    "merge": "toughen.commands.merge",
    "train": "toughen.commands.train",
    "train_seeds": "toughen.commands.train",
    "tune_batch": "toughen.commands.tune_batch",
}
_PACKAGES = ("attacks", "data", "evaluation", "methods", "models")

__all__ = [
    "Batch", "ThreatModel", "ToughenError", "__version__", "attacks", "compare", "data", "evaluate", "evaluation",
    "merge", "methods", "models", "train", "train_seeds", "tune_batch",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"toughen.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'toughen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
