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


OnDoubt = Literal["standard", "stop"]
"""What budget fast does where its figure is doubted: AutoAttack on all that is left, or no more."""


@dataclass(frozen=True)
class EvaluationSettings:
    """How a model is evaluated.

    Attributes:
        budget: attacks to run: quick (FGSM, PGD-20), fast (these, MALT, and AutoAttack on a sample of what is left),
            standard (FGSM, PGD-20, AutoAttack), thorough (more of each), or none but those that are named beside it.
        width: budget fast: points that the 95 % interval of AutoAttack's accuracy on these images may be wide; its
            sample grows until it is no wider.
        audit: budget fast: the share of the images that are left which that sample may grow to.
        on_doubt: budget fast: where its figure is doubted, run AutoAttack on all images that are left, or stop.
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
    width: float = 1.0
    audit: float = 0.1
    on_doubt: OnDoubt = "standard"
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
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in get_args(known):
                raise InputError(f"{name}: unknown {value!r}; {did_you_mean(str(value), get_args(known))}")
        for name, least in (("test_images", 1), ("eot", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if value not in (None, "auto"):
                check_number(name, value, least=least, whole=True)
        check_seed("seed", self.seed)
        check_number("width", self.width, "points", least=0, most=100, such="1")
        check_number("audit", self.audit, "a share", above=0, most=1, such="0.1")
        for name in _OF_FAST if self.budget != "fast" else ():
            if getattr(self, name) != getattr(type(self), name):
                raise InputError(f"{name}: it is of budget fast, and the budget is {self.budget}; add --budget fast")
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
        fast = {"audit": {"width": self.width, "share": self.audit, "on_doubt": self.on_doubt}}
        return {name: getattr(self, name) for name in SETTINGS if name not in _BESIDE} | (
            fast if self.budget == "fast" else {}
        )


_CHOICES = {"budget": Budget, "sample": Sample, "precision": SearchPrecision, "on_doubt": OnDoubt}
_OF_FAST = ("width", "audit", "on_doubt")
SETTINGS = tuple(each.name for each in fields(EvaluationSettings))
_BESIDE = ("checks", "analyses", "device", "time_limit", *_OF_FAST)
