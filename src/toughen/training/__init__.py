"""The only training loop, and what it needs."""

from toughen.training.averaging import EMA, SWA, Average, SuccessEMA
from toughen.training.log import Observer, Silent, read_rows
from toughen.training.loop import Trainer
from toughen.training.optimizer import SGD, Constant, Cosine, MultiStep, OneCycle, Schedule
from toughen.training.ramps import GrowingSize, GrowingSteps
from toughen.training.settings import Settings
from toughen.training.setup import Tracker, check_trackers, make_accelerator, own_randomness
from toughen.training.stopping import Interrupted
from toughen.training.weight_perturbation import AWP

__all__ = [
    "AWP",
    "EMA",
    "SGD",
    "SWA",
    "Average",
    "Constant",
    "Cosine",
    "GrowingSize",
    "GrowingSteps",
    "Interrupted",
    "MultiStep",
    "Observer",
    "OneCycle",
    "Schedule",
    "Settings",
    "Silent",
    "SuccessEMA",
    "Tracker",
    "Trainer",
    "check_trackers",
    "make_accelerator",
    "own_randomness",
    "read_rows",
]
