"""YAML within limits: recipes, configurations, and values on the command line."""

import re
from pathlib import Path
from typing import Any

import yaml

from toughen.reading.files import read_text
from toughen.reading.schema import DEPTH, UnfitError, check_plain

LARGEST = 2**20
"""Bytes of a file: a megabyte takes some seconds."""
NODES = 20_000
"""Values that a file may amount to, its aliases written out."""


def read_yaml(path: Path) -> Any:
    """What a YAML file says; see `load_yaml`.

    Raises:
        OSError: it is not there.
        UnfitError: too large, not YAML, or too much of it.
    """
    return load_yaml(read_text(path, LARGEST))


def load_yaml(text: str) -> Any:
    """The plain data in a piece of YAML.

    A name that stands twice is an error, and only true and false are truth values: YAML 1.1 also reads on, off, yes and
    no so, and would make the setting `on: logits` one called True. Dates stay text.

    Raises:
        UnfitError: not YAML, with line and column; too many values, or too deep ones, as of aliases of aliases.

    >>> load_yaml("{on: logits, flip: true, lam: 3}")
    {'on': 'logits', 'flip': True, 'lam': 3}
    """
    try:
        value = yaml.load(text, Loader=_Loader)
        check_plain(value)
        return value
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise UnfitError(f"{where}not YAML: {error.problem or error}") from error
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, OverflowError) as error:
        # The latter are what PyYAML raises on a `!!int x`, a `!!bool x` and a `!!timestamp x`.
        raise UnfitError(f"not YAML: {' '.join(str(error).split())}") from error


_CHANGED = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")


class _Loader(yaml.SafeLoader):
    """YAML as `load_yaml` reads it."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _CHANGED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes, self._depth = 0, 0
        self._weights: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A value, counted; one that an alias repeats counts again with all that is in it."""
        is_alias = self.check_event(yaml.AliasEvent)
        before, self._depth = self._nodes, self._depth + 1
        if self._depth > DEPTH:
            raise UnfitError(f"values lie deeper than {DEPTH} in each other")
        self._nodes += 1
        node = super().compose_node(parent, index)
        if is_alias:
            if id(node) not in self._weights:
                raise UnfitError("a value contains itself, by its alias")
            self._nodes += self._weights[id(node)]
        self._depth -= 1
        self._weights[id(node)] = self._nodes - before
        if self._nodes > NODES:
            raise UnfitError(f"it amounts to more than {NODES:,} values, its aliases written out")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A dict, unless a name stands twice."""
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    said = f"{key.value!r} stands there twice"
                    raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(_CHANGED[0], re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
