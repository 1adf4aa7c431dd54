"""The words of a command line, and YAML."""

import pytest
import yaml

from toughen.errors import InputError
from toughen.reading.schema import UnfitError
from toughen.reading.yaml_text import load_yaml
from toughen.settings.given import BARE, from_options, split


@pytest.mark.parametrize(
    ("line", "free", "options"),
    [
        ("", [], []),
        ("a b", ["a", "b"], []),
        ("--x 1 a", ["a"], [("x", "1")]),
        ("a --x 1", ["a"], [("x", "1")]),
        ("--x=1 a", ["a"], [("x", "1")]),
        ("--x= a", ["a"], [("x", "")]),
        ("--x --y 2", [], [("x", BARE), ("y", "2")]),
        ("--x -1 --y -.5", [], [("x", "-1"), ("y", "-.5")]),
        ("--x a=b", [], [("x", "a=b")]),
        ("--x=a=b", [], [("x", "a=b")]),
        ("--a-b.c-d 1", [], [("a_b.c_d", "1")]),
        ("--on a", ["a"], [("on", BARE)]),
        ("--on true a", ["a"], [("on", "true")]),
        ("--on False", [], [("on", "False")]),
        ("-h", [], [("help", BARE)]),
        ("--x -h", [], [("x", BARE), ("help", BARE)]),
        ("--help a", ["a"], [("help", BARE)]),
        ("-", ["-"], []),
    ],
)
def test_split(line: str, free: list[str], options: list[tuple[str, object]]) -> None:
    assert split(line.split(), switches=["on"]) == (free, options)


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match=r"--a\.b is given twice, with '1' and '2'; give it once"):
        from_options([("a.b", "1"), ("a", "X"), ("a.b", "2")])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{on: logits, off: no}", {"on": "logits", "off": "no"}),
        ("[true, False, TRUE]", [True, False, True]),
        ("[yes, truely, t]", ["yes", "truely", "t"]),
        ("2020-01-01", "2020-01-01"),
        ("[1, 0.5, null, ~, 8/255]", [1, 0.5, None, None, "8/255"]),
        ("{base: &b {x: 1}, more: {<<: *b, y: 2}}", {"base": {"x": 1}, "more": {"x": 1, "y": 2}}),
    ],
)
def test_yaml(text: str, value: object) -> None:
    assert load_yaml(text) == value


@pytest.mark.parametrize("text", ["{a: 1, a: 2}", "{x: {a: 1, b: 2, a: 1}}", "a: 1\nb: 2\na: 3"])
def test_a_name_that_stands_twice(text: str) -> None:
    with pytest.raises(UnfitError, match="'a' stands there twice"):
        load_yaml(text)


def test_yaml_that_python_writes_comes_back() -> None:
    value = {"on": "probabilities", "yes": ["no", "off", "2020-01-01", 1e-05, True, None], "n": {"y": "Y"}}
    assert load_yaml(yaml.safe_dump(value)) == value
