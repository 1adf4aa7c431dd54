"""The only training loop, and what it needs."""

from toughen.training.averaging import EMA, SWA, Average
from toughen.training.log import Observer, Silent, read_rows
from toughen.training.loop import Interrupted, Settings, Trainer
from toughen.training.setup import Precision, Tracker, find_device, make_accelerator, own_randomness
from toughen.training.optimizer import SGD, Constant, Cosine, MultiStep, OneCycle, Schedule

__all__ = [
    "EMA", "SGD", "SWA", "Average", "Constant", "Cosine", "Interrupted", "MultiStep", "Observer", "OneCycle",
    "Precision", "Schedule", "Settings", "Silent", "Tracker", "Trainer", "find_device", "make_accelerator",
    "own_randomness", "read_rows",
]
