"""Whole run folders, as training, evaluation and studies leave them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from run_files import write_evaluation, write_training
from studies import studies

from toughen.run import RunFolder

MakeRun = Callable[..., RunFolder]


def maker(place: Path) -> MakeRun:
    """A function that makes a run folder; changes replace entries of result.json, which `studied` adds to."""

    def make(
        name: str = "trades",
        *,
        method: str = "TRADES",
        epochs: int = 30,
        evaluated: bool = True,
        n: int = 360,
        seed: int = 0,
        strength: float = 1.0,
        studied: bool = False,
        **changes: Any,
    ) -> RunFolder:
        folder = RunFolder(place / "runs" / name)
        folder.create()
        if epochs:
            write_training(folder, epochs, method)
        if evaluated:
            added = studies() | changes if studied else changes
            write_evaluation(folder, n=n, seed=seed, strength=strength, **added)
        return folder

    return make
