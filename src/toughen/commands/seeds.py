"""Several runs that differ in their seed alone."""

from collections.abc import Mapping
from typing import Any

from toughen.commands.train import DEFAULTS, train
from toughen.commands.trainings.trained import Trained
from toughen.errors import InputError
from toughen.hardware.processes import Processes
from toughen.run import RunFolder
from toughen.settings.description import default_name


def train_seeds(seeds: list[int], **settings: Any) -> list[Trained]:
    """Train one run for each seed, which differ in nothing else.

    Args:
        seeds: train one run for each of these, such as 0,1,2, in folders called <out>-seed0 and so on.
        **settings: those of `train`, without seed and resume.

    Raises:
        ToughenError: as `train`, before the first run where a folder is not free.
    """
    return [train(**{**settings, **own}) for own in each_seed(seeds, settings)]


def each_seed(seeds: list[int], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The seed and the folder of each of several runs.

    Raises:
        InputError: there are several processes, a seed is given twice, or another seed or a run to go on with.
        RunError: a folder is not free.
    """
    if Processes.from_environment().size > 1:
        raise InputError(
            "--seeds trains one run after the other in one process; start one run a seed, each with --seed"
        )
    if len(set(seeds)) < len(seeds) or not seeds:
        raise InputError(f"--seeds: expected different seeds such as 0,1,2, got {','.join(map(str, seeds)) or 'none'}")
    auto = settings.get("resume") == "auto"
    for name in ("seed",) if auto else ("resume", "seed"):
        if settings.get(name, DEFAULTS.get(name)) != DEFAULTS.get(name):
            raise InputError(f"--{name} {settings[name]} came with --seeds; leave one of the two out")
    whole = {**DEFAULTS, **settings}
    out = whole.get("out") or f"runs/{default_name(whole['data'], whole['model'], whole['method'])}"
    runs: list[dict[str, Any]] = [{"seed": seed, "out": f"{out}-seed{seed}"} for seed in seeds]
    for run in () if auto else runs:  # before hours are spent on the first one
        RunFolder(run["out"]).check_free(settings.get("overwrite", False))
    return runs
