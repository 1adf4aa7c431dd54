"""A sweep with everything that its page can show."""

from itertools import product
from pathlib import Path

import numpy as np

from toughen.search.records import SweepRecord, TrialRecord, front_of

SETTINGS = ("method.attack.step_size", "optimizer.lr", "model", "label_smoothing")
REASON = "the memory of cuda:0 does not suffice for a step on 512 images in epoch 1; start again with --batch_size 256"


def sweep_record(folder: Path, tested: str) -> SweepRecord:
    """A grid of 24 trials: most complete, one failed, some pruned; trial `tested` has a run with an evaluation."""
    drawn, trials = np.random.default_rng(0), list[TrialRecord]()
    values = product((0.0039, 0.0078), (0.05, 0.1, 0.2), ("timm:resnet18.a1_in1k", "SmallCNN"), (0.0, 0.1))
    for number, each in enumerate(values):
        given = dict(zip(SETTINGS, each, strict=True))
        clean, robust = float(drawn.uniform(0.7, 0.95)), float(drawn.uniform(0.3, 0.6))
        if number == 5:
            trials.append(TrialRecord(number, "failed", given, reason=REASON))
        elif number % 7 == 6:
            trials.append(TrialRecord(number, "pruned", given, clean / 2, robust / 2, 3))
        elif number == int(tested):
            trials.append(TrialRecord(number, "complete", given, 0.93, 0.64, 30))
        else:
            trials.append(TrialRecord(number, "complete", given, clean, robust, 30))
    command = f"toughen train --config {folder}/trials/{tested}/config.yaml --seed 1 --out runs/best-of-the-sweep"
    importance = dict(zip(SETTINGS, (0.61, 0.27, 0.09, 0.03), strict=True))
    return SweepRecord(folder, "grid", len(trials), tuple(trials), tuple(front_of(trials)), importance, command)
