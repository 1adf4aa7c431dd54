"""YAML as people expect it to be read."""

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """YAML in which a name that stands twice is an error, and only true and false are truth values.

    YAML 1.1 also reads on, off, yes and no so, and would make the setting `on: logits` one called True. Dates stay
    text.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A dict, unless a name stands twice."""
        seen: list[Any] = []
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands there twice", key.start_mark)
            seen.append(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


_CHANGED = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _CHANGED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_CHANGED[0], re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def load(text: str) -> Any:
    """The plain data in a piece of YAML; raises `yaml.YAMLError`.

    >>> load("{on: logits, flip: true, lam: 3}")
    {'on': 'logits', 'flip': True, 'lam': 3}
    """
    return yaml.load(text, Loader=_Loader)
