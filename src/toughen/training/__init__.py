"""The only training loop, and what it needs."""

from typing import TYPE_CHECKING

from toughen.lazy import lazy_names

if TYPE_CHECKING:
    from toughen.training.averaging import EMA, SWA, Average, SuccessEMA
    from toughen.training.batches import Batches
    from toughen.training.guards.settings import Guards
    from toughen.training.log import Observer, Silent, read_rows
    from toughen.training.loop import Trainer
    from toughen.training.optimizer import SGD, Constant, Cosine, MakeOptimizer, MultiStep, OneCycle, Schedule
    from toughen.training.ramps import GrowingEps, GrowingSize, GrowingSteps
    from toughen.training.settings import Settings
    from toughen.training.setup import make_accelerator, own_randomness
    from toughen.training.stopping import Interrupted
    from toughen.training.trace.trace import Traced
    from toughen.training.trackers import Tracker
    from toughen.training.weight_perturbation import AWP

__all__ = [
    "AWP",
    "EMA",
    "SGD",
    "SWA",
    "Average",
    "Batches",
    "Constant",
    "Cosine",
    "GrowingEps",
    "GrowingSize",
    "GrowingSteps",
    "Guards",
    "Interrupted",
    "MakeOptimizer",
    "MultiStep",
    "Observer",
    "OneCycle",
    "Schedule",
    "Settings",
    "Silent",
    "SuccessEMA",
    "Traced",
    "Tracker",
    "Trainer",
    "make_accelerator",
    "own_randomness",
    "read_rows",
]

__getattr__, __dir__ = lazy_names(__name__, __file__)
