"""What can be named on the command line: found by reading the source files, with nothing imported and nothing registered.

A class takes part by lying in its package's folder and having the package's base class. Its summary is the first
line of its docstring.
"""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from toughen.errors import InputError, did_you_mean

HERE = Path(__file__).parent
RECIPES = HERE / "recipes"

_ROOTS = {
    "methods": "Method",
    "models": "Module",
    "data": "DataSource",
    "attacks": "Ascent",
    "optimizers": "SGD",
    "schedules": "Schedule",
    "averages": "Average",
}
_FOLDERS = {"optimizers": "training", "schedules": "training", "averages": "training"}


@dataclass(frozen=True)
class Entry:
    """Something with a name: a class, or a recipe.

    Attributes:
        name: what it is called.
        summary: what it is, in one line.
        path: import path of a class; path of a recipe's file.
    """

    name: str
    summary: str
    path: str


@cache
def classes(kind: str) -> dict[str, Entry]:
    """The public concrete classes of a kind (methods, models, data, attacks, schedules, averages), by name."""
    root, folder = _ROOTS[kind], _FOLDERS.get(kind, kind)
    found: dict[str, tuple[ast.ClassDef, str]] = {}
    for file in sorted((HERE / folder).glob("*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = (node, f"toughen.{folder}.{file.stem}")

    def descends(name: str) -> bool:
        if name == root:
            return True
        return name in found and any(descends(base) for base in map(_last_name, found[name][0].bases))

    entries = {}
    for name, (node, module) in found.items():
        abstract = "ABC" in map(_last_name, node.bases) or name.startswith("_")
        if descends(name) and not abstract and (kind != "models" or _takes(node, "num_classes")):
            entries[name] = Entry(name, _summary(node), f"{module}.{name}")
    return entries


@cache
def recipes() -> dict[str, Entry]:
    """The shipped recipes by name; the summary is the file's first comment line."""
    entries = {}
    for file in sorted(RECIPES.glob("*.yaml")):
        first = file.read_text().partition("\n")[0]
        entries[file.stem] = Entry(file.stem, first.lstrip("# "), str(file))
    return entries


def find(kind: str, name: str, flag: str) -> str:
    """Import path of the class that `name` means, ignoring case and underscores; a dotted path stays as it is.

    Raises:
        InputError: no such class; the message names the nearest.

    >>> find("methods", "trades", "--method")
    'toughen.methods.trades.TRADES'
    """
    if "." in name:
        return name
    known = {_folded(entry): entry for entry in classes(kind)}
    if _folded(name) not in known:
        raise InputError(
            f"{flag}: unknown name {name!r}; {did_you_mean(name, classes(kind))}; or an import path: package.module.Name"
        )
    return classes(kind)[known[_folded(name)]].path


def find_recipe(name: str) -> Path:
    """The file that `--config` means: a path, or the name of a shipped recipe.

    Raises:
        InputError: neither a file nor a recipe.
    """
    if Path(name).is_file():
        return Path(name)
    if name in recipes():
        return Path(recipes()[name].path)
    raise InputError(f"--config: no file and no recipe {name!r}; {did_you_mean(name, recipes())}")


def _folded(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).partition("[")[0].rpartition(".")[2]


def _takes(node: ast.ClassDef, argument: str) -> bool:
    makers = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    return any(argument == each.arg for maker in makers for each in maker.args.args + maker.args.kwonlyargs)


def _summary(node: ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]
