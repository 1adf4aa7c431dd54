"""What varies is read from plain data, and what is wrong in it is said."""

import pytest

from toughen.errors import InputError
from toughen.search.records import TrialRecord, best_of, front_of
from toughen.search.space import Range, grid_of, read_space


def test_a_grid_has_every_combination_of_lists_and_steps() -> None:
    axes = read_space(
        {"a": [True, None, "x"], "b": {"c": {"low": 1, "high": 3}}, "d": {"low": 0, "high": 0.3, "step": "1/10"}}
    )
    points = [tuple(each.values()) for each in grid_of(axes)]
    assert points == [(a, b, d) for a in (True, None, "x") for b in (1, 2, 3) for d in (0.0, 0.1, 0.2, 0.3)]
    assert list(grid_of(axes)[0]) == ["a", "b.c", "d"]


def test_a_value_that_a_range_gives_has_four_digits_and_stays_inside() -> None:
    found = Range("lr", 0.012344, 0.3)
    assert [found.given(each) for each in (0.012344, 0.0999999, 0.123456)] == [0.012344, 0.1, 0.1235]


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ({}, "got none"),
        ({"a": 3}, "a: expected a list of values"),
        ({"a": []}, "a: expected different values"),
        ({"a": [1, 1]}, "a: expected different values"),
        ({"a": [{"b": 1}]}, "a: expected numbers, names"),
        ({"a": {"low": 1}}, "a: high: expected"),
        ({"a": {"low": 1, "hi": 2}}, "a.hi: unknown entry of a range; did you mean 'high'"),
        ({"a": {"low": "x", "high": 2}}, "a.low: expected a number"),
        ({"a": {"low": 2, "high": 1}}, "a: expected low below high"),
        ({"a": {"low": 0, "high": 1, "log": True}}, "a: log needs a low above 0"),
        ({"a": {"low": 0, "high": 1, "step": 2}}, "a.step: expected more than 0"),
        ({"a": {"low": 1, "high": float("inf")}}, "a.high: expected a finite number"),
        ({"a.b": [1], "a": {"b": [2]}}, "a.b stands there twice"),
    ],
)
def test_what_cannot_vary_is_said(vary: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_space(vary)


def test_a_grid_needs_a_list_or_a_step_and_an_end() -> None:
    with pytest.raises(InputError, match="a: a grid needs a list of values, or a step"):
        grid_of(read_space({"a": {"low": 0.1, "high": 1}}))
    with pytest.raises(InputError, match="1,000,000 combinations"):
        grid_of(read_space({name: {"low": 1, "high": 1000} for name in "ab"}))


def test_the_front_is_what_no_other_trial_beats() -> None:
    figures = [(0.9, 0.5), (0.8, 0.6), (0.8, 0.6), (0.7, 0.55), (0.95, 0.1), (0.99, 0.99)]
    trials = [TrialRecord(n, "complete" if n < 5 else "pruned", {}, *each) for n, each in enumerate(figures)]
    beaten = {
        a.number
        for a in trials[:5]
        for b in trials[:5]
        if b.clean >= a.clean and b.robust >= a.robust and (b.figures() != a.figures() or b.number < a.number)
    }
    assert {each.number for each in front_of(trials)} == {0, 1, 2, 3, 4} - beaten == {0, 1, 4}
    assert best_of(trials) == trials[1]
