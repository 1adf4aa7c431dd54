"""How a model is evaluated: one object for every signature and for the command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from toughen.attacks.budgets import Budget
from toughen.attacks.fast_search import SearchPrecision
from toughen.errors import InputError, did_you_mean
from toughen.evaluation.analyses.base import Analysis, check_names
from toughen.numbers import check_number, check_seed

BatchSize = int | Literal["auto"]
"""Images attacked together; auto: the most that fit into this machine's memory, see `largest_batch`."""

Sample = Literal["by_class", "first", "random"]
"""Which images of a split stand for it, and in which order.

by_class: drawn by class (see `order_by_class`), the same ones for every seed, so that runs with other seeds compare
image by image; every beginning is like the split. first: the first ones in the data's own order, as RobustBench takes
them, which in sorted data are of few classes. random: drawn with the evaluation's seed.
"""


@dataclass(frozen=True)
class EvaluationSettings:
    """How a model is evaluated.

    Attributes:
        budget: attacks to run: quick (FGSM, PGD-20), standard (FGSM, PGD-20, AutoAttack), thorough (more of each), or
            none but those that are named beside it.
        test_images: number of test images; default all.
        sample: which of them: by_class (like the whole set, the same for every seed), first, or random (by the seed).
        seed: of the attacks, and of a random sample.
        batch_size: images attacked together, or auto for as many as fit. The seeds are those of batches, so figures
            compare image by image at the same size only; auto may find another the next time, and then begins anew.
        precision: of the attacks' search: fp32 (as published, bit for bit), folded or bf16 (on a faster copy of the
            model, every broken image checked in fp32), or auto (the faster of these two).
        eot: for a model that answers at random, attack the mean of so many passes, such as 20.
        checks: attack 100 images again, weaker and stronger, to check that the attacks can be believed.
        analyses: further studies, such as EpsCurve,Corruptions; those that the folder has are not made again.
        device: auto, cpu, cuda or cuda:1.
        time_limit: seconds after which it reports what it has, as incomplete; the same call goes on from there.

    Raises:
        InputError: a setting that is unknown or out of range.

    >>> EvaluationSettings(budget="quick").changed(seed=1).seed
    1
    """

    budget: Budget = "standard"
    test_images: int | None = None
    sample: Sample = "by_class"
    seed: int = 0
    batch_size: BatchSize = 250
    precision: SearchPrecision = "fp32"
    eot: int = 1
    checks: bool = True
    analyses: list[Analysis] = field(default_factory=list)
    device: str = "auto"
    time_limit: float | None = None

    def __post_init__(self) -> None:
        for name, known in (("budget", Budget), ("sample", Sample), ("precision", SearchPrecision)):
            value = getattr(self, name)
            if value not in get_args(known):
                raise InputError(f"{name}: unknown {value!r}; {did_you_mean(str(value), get_args(known))}")
        for name, least in (("test_images", 1), ("eot", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if value not in (None, "auto"):
                check_number(name, value, least=least, whole=True)
        check_seed("seed", self.seed)
        if self.time_limit is not None:
            check_number("time_limit", self.time_limit, "seconds", above=0)
        check_names(self.analyses)

    def changed(self, **changes: Any) -> "EvaluationSettings":
        """The same with other values for some settings.

        Raises:
            InputError: a name that is no setting.
        """
        for name in changes:
            if name not in SETTINGS:
                raise InputError(f"unknown setting {name!r}; {did_you_mean(name, SETTINGS)}")
        return replace(self, **changes) if changes else self

    def protocol(self) -> Mapping[str, Any]:
        """What verdicts depend on."""
        return {name: getattr(self, name) for name in SETTINGS if name not in _BESIDE}


SETTINGS = tuple(each.name for each in fields(EvaluationSettings))
_BESIDE = ("checks", "analyses", "device", "time_limit")
