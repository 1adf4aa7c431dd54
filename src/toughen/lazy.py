"""Names of a package that are loaded when they are used (PEP 562)."""

import ast
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any


def lazy_names(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that imports its names `if TYPE_CHECKING` and lists them in `__all__`.

    A type checker reads those imports; here they say where a name is loaded from.
    """

    @cache
    def homes() -> dict[str, str]:
        blocks = [node for node in ast.parse(Path(file).read_text(encoding="utf-8")).body if isinstance(node, ast.If)]
        imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
        return {name.name: node.module for node in imports if node.module for name in node.names}

    def load(name: str) -> Any:
        if name.startswith("__") or name not in homes():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes()[name]
        return import_module(f"{home}.{name}") if home == package else getattr(import_module(home), name)

    return load, lambda: sorted(sys.modules[package].__all__)
