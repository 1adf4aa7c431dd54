"""Figure 7: how long it takes until something happens.

    python benchmarks/startup.py

`toughen --help` and `import toughen` in fresh processes (the latter without torch in it); all public names of
`toughen.attacks` and of `toughen.evaluation`, torch included, over `import torch` alone; and the time from the start of
`toughen train` to the end of its first step beyond that of `import torch` alone, all measured in turn in fresh
processes. Seconds are processor time of the whole process, which is the wall time of a machine with nothing else to
do, for each of these runs on one thread. Writes startup.json.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import Figure, finish, quartiles

HELP = ["-m", "toughen", "--help"]
IMPORT = ["-c", "import sys, toughen; sys.exit('torch' in sys.modules)"]
TORCH = ["-c", "import torch"]
EVERYTHING = {"toughen.attacks": 1.1, "toughen.evaluation": 1.25}
"""Packages of which every public name is imported, and what that may cost, as multiples of `import torch`."""
FIRST_STEP = [
    "-c",
    """
import os, sys
from toughen.training import Silent
import toughen

class Stop(Silent):
    def stepped(self, step):
        os._exit(0)

toughen.train(observer=Stop(), out=sys.argv[1])
""",
]


def processor_seconds(words: list[str]) -> float:
    """Of a fresh process with one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *words], env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Measure, write the JSON, print a line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {"toughen --help": [], "import toughen": [], "first step after torch": []}
    ratios: dict[str, list[float]] = {package: [] for package in EVERYTHING}
    with tempfile.TemporaryDirectory() as folder:
        for repetition in range(arguments.repetitions + 1):
            torch = processor_seconds(TORCH)
            first = processor_seconds([*FIRST_STEP, str(Path(folder) / str(repetition))])
            found = (processor_seconds(HELP), processor_seconds(IMPORT), first - torch)
            times = {name: processor_seconds(["-c", f"from {name} import *"]) / torch for name in EVERYTHING}
            if repetition:  # the first round fills the disk's cache
                for name, value in times.items():
                    ratios[name].append(value)
                for values, value in zip(seconds.values(), found, strict=True):
                    values.append(value)
    targets = dict(zip(seconds, (1.0, 0.3, 3.0), strict=True))
    figures = [
        Figure(name, statistics.median(values), targets[name], quartiles(values), at_most=True, unit="s")
        for name, values in seconds.items()
    ]
    figures += [
        Figure(
            f"import {name} over torch", statistics.median(values), EVERYTHING[name], quartiles(values), at_most=True
        )
        for name, values in ratios.items()
    ]
    rows = [{"name": name, "seconds": values} for name, values in seconds.items()]
    rows += [{"name": name, "over torch": values} for name, values in ratios.items()]
    finish(Path(__file__).name, vars(arguments), rows, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
