"""Imports between the rooms of `src/toughen` go one way, as CONTRIBUTING's table lists them, and never in a circle."""

import ast
from pathlib import Path
from typing import get_args

import toughen
from toughen.threat import Norm

SOURCE = Path(toughen.__file__).parent
ROOMS = [
    "cli",
    "commands",
    "exports",
    "reports",
    "analysis",
    "evaluation",
    "training",
    "methods",
    "attacks",
    "models",
    "data",
    "hardware",
]
IN_COMMANDS = ["studies", "trainings", "evaluations", "images"]
"""The rooms of `commands`, which use each other in this order."""
CORE = {"losses", "threat", "settings"}
"""What beside the rooms may use `hardware`; all others use no room."""


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
    if module.startswith("toughen.analysis.measures"):
        return "measures"  # any room may use them, and they use none
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


def test_the_rooms_of_commands_go_one_way():
    for module, tree in modules().items():
        here = module.split(".")[2] if room(module) == "commands" and module.count(".") > 2 else None
        for name in imported(tree) if here else ():
            there = name.split(".")[2] if name.startswith("toughen.commands.") else None
            lower = IN_COMMANDS[IN_COMMANDS.index(here) :]
            assert there not in IN_COMMANDS or there in lower, f"{module} imports {name}"


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


DECIDES = {
    "threat": set(get_args(Norm)),
    "attacks.adaptive": {"l1"},  # steps of few pixels
    "attacks.apgd": {"l1"},  # larger radii first, as in AutoAttack
    "attacks.autoattack": {"l1"},  # 5 target classes in its standard
    "attacks.square": {"linf"},  # the lean form is of l-inf alone
    "attacks.fab": {"linf"},  # the projections of l-inf and l2
    "evaluation.analyses.minimum_norm": {"l2"},  # DDN is of l2 alone
    "methods.arr": {"l1", "l2", "lq"},  # a distance of outputs, not of images
}
"""Which norms' names a module may compare with or choose by: the threat model all, an attack its own."""


def chosen_by(tree: ast.AST) -> set[str]:
    """Texts that something is compared with, the keys of dicts and the values of cases."""
    found: set[str] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            parts = [*node.keys]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        for part in parts:
            for leaf in ast.walk(part) if part else ():
                if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str):
                    found.add(leaf.value.lower())
    return found


def test_only_the_threat_model_and_attacks_of_one_norm_decide_by_a_norms_name():
    for module, tree in modules().items():
        allowed = DECIDES.get(module.removeprefix("toughen."), set())
        assert chosen_by(tree) & set(get_args(Norm)) <= allowed, module


def test_every_module_that_may_decide_by_a_norm_does():
    trees = modules()
    for module, norms in DECIDES.items():
        assert norms & chosen_by(trees[f"toughen.{module}"]) == norms, module


FOUND_BY_FILE = {
    *(("cli", name) for name in ("parser", "run")),
    ("reports", "build"),
    *(("exports", name) for name in ("write", "logits", "runtime")),
}
"""What each file of a room has under one name, because it is found by its file: a subcommand, a format, a section."""


def test_no_two_public_names_are_the_same():
    homes: dict[str, list[str]] = {}
    for module, tree in modules().items():
        public = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        for name in public:
            if not name.startswith("_") and (room(module), name) not in FOUND_BY_FILE:
                homes.setdefault(name, []).append(module)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}
