"""One row for every method: the shared suite in test_contract.py puts each through the same tests.

A method that has no row fails the suite. Add `NAME: Case(settings)`, small enough to run in milliseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass

from toughen.attacks import FGSM, PGD, Ascent
from toughen.methods import ARR, PGDAT, TRADES, Method, Standard


@dataclass(frozen=True)
class Case:
    """How a method is made for the tests, and what it promises.

    Attributes:
        make: builds it with a small attack.
        terms: the names of its loss terms.
        perturbs: whether its images differ from the clean ones.
    """

    make: Callable[[], Method]
    terms: tuple[str, ...]
    perturbs: bool = True


CASES: dict[str, list[Case]] = {
    "ARR": [
        Case(lambda: ARR(lam=3.0, attack=PGD(steps=2)), ("ce", "distance")),
        Case(lambda: ARR(lam=0.3, distance="l2", on="logits", attack=FGSM()), ("ce", "distance")),
        Case(lambda: ARR(lam=1.0, distance="l1", attack=FGSM(start="uniform")), ("ce", "distance")),
        Case(lambda: ARR(lam=1.0, distance="lq", q=3.0, on="logits", attack=PGD(steps=3)), ("ce", "distance")),
    ],
    "PGDAT": [Case(lambda: PGDAT(attack=PGD(steps=2)), ("adversarial_ce",))],
    "Standard": [Case(Standard, ("ce",), perturbs=False)],
    "TRADES": [Case(lambda: TRADES(beta=6.0, attack=Ascent(steps=2, start="normal")), ("natural", "robust_kl"))],
}
