"""The only training loop, and what it needs."""

from toughen.training.averaging import EMA, SWA, Average, SuccessEMA
from toughen.training.log import Observer, Silent, read_rows
from toughen.training.loop import Interrupted, Settings, Trainer
from toughen.training.optimizer import SGD, Constant, Cosine, MultiStep, OneCycle, Schedule
from toughen.training.setup import Precision, Tracker, find_device, make_accelerator, own_randomness
from toughen.training.weight_perturbation import AWP

__all__ = [
    "AWP",
    "EMA",
    "SGD",
    "SWA",
    "Average",
    "Constant",
    "Cosine",
    "Interrupted",
    "MultiStep",
    "Observer",
    "OneCycle",
    "Precision",
    "Schedule",
    "Settings",
    "Silent",
    "SuccessEMA",
    "Tracker",
    "Trainer",
    "find_device",
    "make_accelerator",
    "own_randomness",
    "read_rows",
]
