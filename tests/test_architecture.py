"""Imports between the rooms of `src/toughen` go one way, as CONTRIBUTING's table lists them, and never in a circle."""

import ast
from pathlib import Path

import toughen

SOURCE = Path(toughen.__file__).parent
ROOMS = ["cli", "commands", "reports", "evaluation", "training", "methods", "attacks", "models", "data", "hardware"]
CORE = {"losses", "threat"}
"""Modules beside the rooms that may use `hardware`; all others use no room."""


def modules() -> dict[str, ast.Module]:
    paths = SOURCE.rglob("*.py")
    return {
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
            path.read_text()
        )
        for path in paths
    }


def imported(tree: ast.AST) -> set[str]:
    """What a module imports from this package as it is loaded: nothing inside functions or for type checkers only."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("toughen."):
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        found |= imported(node)
    return found


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_a_room_uses_only_the_rooms_below_it():
    for module, tree in modules().items():
        here = room(module)
        lower = ROOMS[ROOMS.index(here) + 1 :] if here in ROOMS else ["hardware"] if here in CORE else []
        if here in ("", "__main__"):
            continue  # the package's own names, loaded when they are used
        for name in imported(tree):
            there = room(name)
            assert there not in ROOMS or there == here or there in lower, f"{module} imports {name}"


def test_no_module_imports_itself_over_others():
    trees = modules()
    arrows = {module: {name for name in imported(tree) if name in trees} for module, tree in trees.items()}
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> None:
        assert module not in way, f"a circle: {' -> '.join([*way[way.index(module) :], module])}"
        if module not in done:
            for name in sorted(arrows[module]):
                visit(name, [*way, module])
            done.add(module)

    for module in trees:
        visit(module, [])
