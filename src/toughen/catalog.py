"""What can be named on the command line: found by reading the source files, nothing imported, nothing registered.

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

KINDS = {
    "methods": "toughen.methods.method.Method",
    "models": "torch.nn.modules.module.Module",
    "data": "toughen.data.source.DataSource",
    "attacks": "toughen.attacks.ascent.Ascent",
    "optimizers": "toughen.training.optimizer.SGD",
    "schedules": "toughen.training.optimizer.Schedule",
    "averages": "toughen.training.averaging.Average",
    "analyses": "toughen.evaluation.analysis.Analysis",
}
"""The kinds of classes, each with the import path of its base class.

The folder of the base class is searched, or the one in it that is called like the kind. A setting whose type is a base
class, or descends from one, takes names of that kind.
"""


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
    """The public concrete classes of a kind (see `KINDS`), by name, in the alphabet's order."""
    base, folder = _last(KINDS[kind]), _folder(kind)
    found: dict[str, tuple[ast.ClassDef, str]] = {}
    for file in sorted(folder.glob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                module = ".".join(file.relative_to(HERE.parent).with_suffix("").parts)
                found[node.name] = (node, f"{module}.{node.name}")

    def descends(name: str) -> bool:
        return name == base or (name in found and any(map(descends, _bases(found[name][0]))))

    entries = {}
    for name, (node, path) in sorted(found.items(), key=lambda item: item[0].lower()):
        hidden = name.startswith("_") or "ABC" in _bases(node)
        # A module of its own is a layer; one that is told the number of classes is a network.
        if descends(name) and not hidden and (kind != "models" or _takes(node, "num_classes")):
            entries[name] = Entry(name, (ast.get_docstring(node) or "").partition("\n")[0], path)
    return entries


@cache
def recipes() -> dict[str, Entry]:
    """The shipped recipes by name; the summary is the file's first line, a comment."""
    entries = {}
    for file in sorted(RECIPES.glob("*.yaml")):
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        entries[file.stem] = Entry(file.stem, first.removeprefix("#").strip(), str(file))
    return entries


def kind_of(base: type) -> str | None:
    """The kind of classes that a setting of this type takes; None where it is no kind that has names.

    >>> from toughen.attacks import PGD
    >>> kind_of(PGD), kind_of(dict)
    ('attacks', None)
    """
    kinds = {path: kind for kind, path in KINDS.items()}
    paths = (f"{each.__module__}.{each.__qualname__}" for each in base.__mro__)
    return next((kinds[path] for path in paths if path in kinds), None)


def find(kind: str, name: str, flag: str) -> str:
    """Import path of the class that `name` means, ignoring case and underscores; a dotted path stays as it is.

    Raises:
        InputError: no such class; the message begins with `flag` and names the nearest.

    >>> find("methods", "trades", "--method")
    'toughen.methods.trades.TRADES'
    """
    if "." in name:
        return name
    known = {folded(entry.name): entry for entry in classes(kind).values()}
    if folded(name) not in known:
        known_names = did_you_mean(name, classes(kind))
        raise InputError(f"{flag}: unknown name {name!r}; {known_names}; or an import path: package.module.Name")
    return known[folded(name)].path


def find_recipe(name: str) -> Path:
    """The file that `--config` means: a path, or the name of a shipped recipe, ignoring case and underscores.

    Raises:
        InputError: neither a file nor a recipe.
    """
    file = Path(name)
    if file.is_file():
        return file
    known = {folded(entry.name): entry for entry in recipes().values()}
    if folded(name) in known:
        return Path(known[folded(name)].path)
    near = did_you_mean(name, recipes()).rpartition("Known:")[0]
    if (file / "config.yaml").is_file():
        near = f"did you mean the run's {file / 'config.yaml'}? "
    raise InputError(
        f"--config: no file and no recipe {name!r}; {near}expected a YAML file of settings, or a recipe that "
        "`toughen list recipes` names"
    )


def folded(name: str) -> str:
    """A name as it is compared: without case, underscores and dashes.

    >>> folded("small_cnn") == folded("SmallCNN")
    True
    """
    return name.replace("_", "").replace("-", "").lower()


def _folder(kind: str) -> Path:
    package = KINDS[kind].split(".")
    folder = HERE.joinpath(*package[1:-2]) if package[0] == "toughen" else HERE
    return folder / kind if (folder / kind).is_dir() else folder


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _bases(node: ast.ClassDef) -> list[str]:
    return [_last(ast.unparse(base).partition("[")[0]) for base in node.bases]


def _takes(node: ast.ClassDef, argument: str) -> bool:
    makers = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    return any(argument == each.arg for maker in makers for each in maker.args.args + maker.args.kwonlyargs)
