"""What a method's docstring must say, for its card, and whether the stated cost is the real one."""

import inspect
import re

import pytest

from toughen import catalog
from toughen.methods import Method, RegMix
from toughen.methods.counting import StepPasses, step_passes
from toughen.settings.names import import_path

NAMES = sorted(catalog.classes("methods"))


def method_class(name: str) -> type[Method]:
    return import_path(catalog.classes("methods")[name].path)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_everything_that_a_reader_asks(name: str) -> None:
    text = inspect.cleandoc(method_class(name).__doc__ or "")
    for heading in (r"Source: ", r"When to use it: ", r"Deviations?: ", r"Cost: "):
        assert re.search(rf"^{heading}", text, re.MULTILINE), heading


@pytest.mark.parametrize("name", NAMES)
def test_the_stated_cost_is_counted(name: str) -> None:
    stated = re.search(r"Cost: (\d+) forward and (\d+) backward", method_class(name).__doc__ or "")
    assert stated
    passes = step_passes(method_class(name)())
    assert (passes.forward, passes.backward) == tuple(int(number) for number in stated.groups())


def test_the_default_of_regmix_is_counted_with_its_parts() -> None:
    """The card says what each part costs: without AMR and AGR one pass of each kind less."""
    settings: list[dict[str, float]] = [{}, {"gamma": 0.0}, {"alpha": 0.0, "beta": 0.0}]
    assert [step_passes(RegMix(**each)) for each in settings] == [StepPasses(4, 4), StepPasses(3, 3), StepPasses(3, 3)]
