"""Train image classifiers to withstand adversarial examples, and say honestly how far they do.

    import toughen
    trained = toughen.train(method=toughen.methods.TRADES(beta=6), threat=toughen.ThreatModel("linf", "8/255"))

Importing the package imports neither torch nor anything else that is slow: names are loaded when they are used.
"""

from typing import TYPE_CHECKING

from toughen._version import __version__
from toughen.lazy import lazy_names

if TYPE_CHECKING:
    from toughen import attacks, data, evaluation, methods, models
    from toughen.batch import Batch
    from toughen.commands.analyze import analyze
    from toughen.commands.card import card
    from toughen.commands.compare import compare
    from toughen.commands.evaluate import evaluate
    from toughen.commands.export import export
    from toughen.commands.harden import harden
    from toughen.commands.merge import merge
    from toughen.commands.predict import predict
    from toughen.commands.push import push
    from toughen.commands.seeds import train_seeds
    from toughen.commands.study import study
    from toughen.commands.sweep import sweep
    from toughen.commands.train import train
    from toughen.commands.tune_batch import tune_batch
    from toughen.errors import ToughenError
    from toughen.models.load import load
    from toughen.threat import ThreatModel

__all__ = [
    "Batch", "ThreatModel", "ToughenError", "__version__", "analyze", "attacks", "card", "compare", "data",
    "evaluate", "evaluation", "export", "harden", "load", "merge", "methods", "models", "predict", "push", "study",
    "sweep", "train", "train_seeds", "tune_batch",
]  # fmt: skip

__getattr__, __dir__ = lazy_names(__name__, __file__)
