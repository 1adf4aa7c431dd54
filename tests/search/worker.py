"""One worker of a study without a training: python worker.py FOLDER STORAGE SEARCH [hang].

Prints the number and the values of each trial that it ran. With `hang` it stays at its first one for ever.
"""

import json
import sys
import time
from pathlib import Path

from toughen.search.records import TrialRecord
from toughen.search.space import read_space
from toughen.search.trials import Search, SearchPlan


def work(folder: str, storage: str, search: str, *hang: str) -> None:
    axes = read_space({"a": {"low": 0, "high": 1, "step": 0.25}, "b": ["x", "y", "z"]})
    study = Search(Path(folder), "study", SearchPlan(axes, search, 12, False, 0, 2), storage or None)
    while True:
        with study.claim() as trial:
            if trial is None:
                break
            print(json.dumps([trial.number, trial.values]), flush=True)
            time.sleep(600 if hang else 0.05)
            trial.end(TrialRecord(trial.number, "complete", trial.values, 0.9, float(trial.values["a"]), 2))


if __name__ == "__main__":
    work(*sys.argv[1:])
