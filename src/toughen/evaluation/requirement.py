"""What an evaluation must show, such as `robust >= 0.45`, judged by the worse end of its exact interval."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from toughen.attacks.base import AUDIT
from toughen.errors import InputError, did_you_mean
from toughen.evaluation.audit import is_estimate
from toughen.evaluation.checks.doubts import reasons
from toughen.evaluation.statistics.audit import interval_beyond
from toughen.evaluation.statistics.intervals import clopper_pearson

_TERM = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*(\d*\.?\d+)\s*(%?)\s*")


@dataclass(frozen=True)
class RequirementResult:
    """Whether a requirement is met.

    Attributes:
        met: it is.
        reason: one line that says why, or why not.
    """

    met: bool
    reason: str


@dataclass(frozen=True)
class Condition:
    """One comparison of a figure with a bound."""

    figure: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.figure} {self.sign} {self.bound:g}"

    def judge(self, result: Mapping[str, Any]) -> RequirementResult:
        """A lower bound must lie below the whole 95 % interval of `clopper_pearson`, an upper bound above it.

        So a model whose true share just misses the bound passes by chance in at most 2.5 % of samples, however few
        images there are. Where they are too few to show the bound at all, the reason says so. Of an estimate from an
        audit the interval allows for what was not audited, too; see `interval_beyond`.
        """
        figure = result["robust_accuracy"] if self.figure == "robust" else result["figures"][self.figure]
        n = int(figure["n"])
        share, low, high = _estimate(self.figure, figure, result)
        said = f"{self.figure} {share:.4f}, exact 95 % interval {low:.4f} to {high:.4f} (n = {n:,})"
        if self.sign in (">=", ">"):
            met = low >= self.bound if self.sign == ">=" else low > self.bound
            end = f"lower end {low:.4f} {'>=' if met else 'below'} {self.bound:g}"
            possible = clopper_pearson(n, n)[0] >= self.bound
        else:
            met = high <= self.bound if self.sign == "<=" else high < self.bound
            end = f"upper end {high:.4f} {'<=' if met else 'above'} {self.bound:g}"
            possible = clopper_pearson(0, n)[1] <= self.bound
        few = "" if possible else f"; {n:,} images are too few to show it, whatever they give: use more"
        return RequirementResult(met, f"{self}: {said}: {end}{few}")


def _estimate(name: str, figure: Mapping[str, Any], result: Mapping[str, Any]) -> tuple[float, float, float]:
    """A share with its exact interval; of an audit's estimate that which allows for both samples."""
    held, n = int(figure["held"]), int(figure["n"])
    if name not in ("robust", AUDIT) or not is_estimate(result):
        return (held / n, *clopper_pearson(held, n))
    left, audited, found = (int(result["audit"][each]) for each in ("left", "audited", "broken"))
    found += int(result["audit"].get("broken_later", 0)) if name == "robust" else 0
    return (figure["accuracy"], *interval_beyond(n, left, audited, found, left - found - held, clopper_pearson))


class Checks:
    """The self-checks of the attacks."""

    def judge(self, result: Mapping[str, Any]) -> RequirementResult:
        """They must all have been made, none may have failed, and nothing found before the attacks may bind."""
        if "self_checks" not in result.get("analyses", {}):
            return RequirementResult(False, "checks: the self-checks did not run")
        doubted = dict.fromkeys(reason["name"] for reason in reasons(result))
        failed = list(doubted | dict.fromkeys(result.get("masking_suspected", [])))
        if failed:
            return RequirementResult(False, f"checks: gradient masking suspected: {', '.join(failed)}")
        unjudged = [
            f"{check['name']} ({check['message']})" for check in result.get("checks", []) if check["passed"] is None
        ]
        if unjudged:
            return RequirementResult(False, f"checks: not judged: {', '.join(unjudged)}")
        return RequirementResult(True, "checks: none failed")


@dataclass(frozen=True)
class Requirement:
    """What must all hold: comparisons, and `checks`.

    >>> result = {"robust_accuracy": {"held": 75, "n": 150}, "figures": {}}
    >>> Requirement.parse("robust >= 0.4", []).judge(result).met
    True
    >>> Requirement.parse("robust >= 45 %", []).judge(result).reason
    'robust >= 0.45: robust 0.5000, exact 95 % interval 0.4174 to 0.5826 (n = 150): lower end 0.4174 below 0.45'
    """

    terms: tuple[Condition | Checks, ...]

    @classmethod
    def parse(cls, text: str, attacks: Iterable[str]) -> "Requirement":
        """Read comparisons and `checks`, joined by `and`.

        Args:
            text: such as "robust >= 0.45 and clean >= 0.8"; figures are robust (under all attacks together), clean
                and the attacks' names; bounds are shares or percentages; `checks` asks that no self-check failed.
            attacks: names of the attacks that there are figures of.

        Raises:
            InputError: no comparison, an unknown figure, a bound outside 0 .. 1, or a comparison that every model meets
                (`>= 0`, `<= 1`) or none can (`<= 0`, `< 0`, `>= 1`, `> 1`).
        """
        known = ("robust", "clean", *attacks)
        terms: list[Condition | Checks] = []
        for part in re.split(r"\band\b", text):
            if part.strip() == "checks":
                terms.append(Checks())
                continue
            found = _TERM.fullmatch(part)
            if not found:
                raise InputError(
                    f"require: cannot read {part.strip()!r}; expected comparisons such as "
                    "'robust >= 0.45 and clean >= 0.8 and checks'"
                )
            figure, sign, bound, percent = found.groups()
            if figure not in known:
                raise InputError(f"require: unknown figure {figure!r}; {did_you_mean(figure, known)}")
            value = float(bound) / (100 if percent else 1)
            if not 0 <= value <= 1:
                hint = f"; did you mean {value / 100:g}?" if value <= 100 else ""
                raise InputError(f"require: expected a share from 0 to 1, or a percentage, got {part.strip()!r}{hint}")
            if (sign, value) not in ((">", 0), ("<", 1)) and value in (0, 1):
                who = "every model" if (sign, value) in ((">=", 0), ("<=", 1)) else "no model, on any number of images"
                raise InputError(
                    f"require: {part.strip()!r} is met by {who}; "
                    f"expected a bound between 0 and 1, such as {figure} {sign} 0.45"
                )
            terms.append(Condition(figure, sign, value))
        return cls(tuple(terms))

    def judge(self, result: Mapping[str, Any]) -> RequirementResult:
        """Judge an evaluation's result. One that lacks attacks, or a figure, meets nothing: it could only flatter."""
        missing = [name for name in result.get("planned", {}).get("attacks", []) if name not in result["figures"]]
        if missing:
            return RequirementResult(False, f"the evaluation is incomplete: {', '.join(missing)} did not run")
        outcomes = [term.judge(result) for term in self.terms]
        failed = [outcome.reason for outcome in outcomes if not outcome.met]
        return RequirementResult(not failed, "; ".join(failed or [outcome.reason for outcome in outcomes]))
