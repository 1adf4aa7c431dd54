"""What can be named on the command line: found by reading the source files, nothing imported, nothing registered.

A class takes part by lying in its package's folder and having the package's base class. Its summary is the first
line of its docstring.
"""

import ast
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from toughen.errors import InputError, did_you_mean

HERE = Path(__file__).parent
RECIPES = HERE / "recipes"
FORMER = {"ascent": "GradientAttack"}
"""Names that files of earlier versions give, folded, with what is there now."""

KINDS = {
    "methods": "toughen.methods.method.Method",
    "models": "torch.nn.modules.module.Module",
    "data": "toughen.data.source.DataSource",
    "attacks": "toughen.attacks.gradient.GradientAttack",
    "optimizers": "torch.optim.optimizer.Optimizer",
    "schedules": "toughen.training.optimizer.Schedule",
    "averages": "toughen.training.averaging.Average",
    "analyses": "toughen.evaluation.analyses.base.Analysis",
}
"""The kinds of classes, each with the import path of its base class.

The folder of the base class is searched, or the one in it that is called like the kind; for optimisers that of torch,
then ours, whose SGD has other defaults. A setting whose type is a base class, or descends from one, takes names of that
kind.
"""


LIBRARIES = {
    "timm": "toughen.models.adapters.Timm",
    "hf-hub": "toughen.models.adapters.Timm",
    "local-dir": "toughen.models.adapters.Timm",
    "torchvision": "toughen.models.adapters.Torchvision",
    "hf": "toughen.models.transformers_network.Transformers",
    "robustbench": "toughen.models.robustbench_network.RobustBench",
}
"""What stands before the name of a library's network, as in `timm:resnet18`, with the class that makes it."""

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
"""Endings of tables of images."""


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
    base, entries = _last(KINDS[kind]), dict[str, Entry]()
    for folder, package in _folders(kind):
        found = _declared(folder, package)
        for name, declared in found.items():
            hidden = name.startswith("_") or "ABC" in declared.bases or declared.entry.path == KINDS["optimizers"]
            # A module of its own is a layer; one that is told the number of classes is a network.
            fits = kind != "models" or "num_classes" in declared.takes
            if fits and not hidden and _descends(name, {base, *entries}, found):
                entries[name] = declared.entry
    return dict(sorted(entries.items(), key=lambda item: item[0].lower()))


@cache
def recipes() -> dict[str, Entry]:
    """The shipped recipes by name; the summary is the file's first line, a comment."""
    return {name: each for name, each in _shipped("").items() if not name.endswith(_STUDY)}


@cache
def studies() -> dict[str, Entry]:
    """The shipped studies, as `recipes`: files called NAME.study.yaml beside them."""
    return _shipped(_STUDY)


_STUDY = ".study"


def _shipped(ending: str) -> dict[str, Entry]:
    entries = {}
    for file in sorted(RECIPES.glob(f"*{ending}.yaml")):
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        name = file.stem.removesuffix(ending)
        entries[name] = Entry(name, first.removeprefix("#").strip(), str(file))
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
    if kind == "data" and ("/" in name or name.endswith(TABLES)) and ":" not in name:
        raise InputError(
            f"{flag}: no file or folder at {name}; expected a folder of images, a table of them, or shards"
        )
    if "." in name:
        return name
    name = FORMER.get(folded(name), name)
    known = {folded(entry.name): entry for entry in classes(kind).values()}
    if folded(name) not in known:
        known_names = did_you_mean(name, classes(kind))
        path = ", or the path of your own images" if kind == "data" else ""
        raise InputError(f"{flag}: unknown name {name!r}; {known_names}; or an import path: package.module.Name{path}")
    return known[folded(name)].path


def of_library(name: str) -> dict[str, Any] | None:
    """Class and settings of the network of a library that a name means; None for any other name.

    >>> of_library("torchvision:resnet18.IMAGENET1K_V1")["init_args"]
    {'name': 'resnet18', 'weights': 'IMAGENET1K_V1'}
    """
    found = re.match(r"(timm|torchvision)/|([\w-]+):", name)
    library = found[1] or found[2] if found else ""
    if found is None or library not in LIBRARIES:
        return None
    rest = name[found.end() :]
    settings = {"name": name if library in ("hf-hub", "local-dir") else rest}
    if library == "torchvision" and "." in rest:
        settings = dict(zip(("name", "weights"), rest.split(".", 1), strict=True))
    if library == "robustbench" and rest.count("/") == 2:
        settings = dict(zip(("dataset", "threat_model", "name"), rest.split("/"), strict=True))
    return {"class_path": LIBRARIES[library], "init_args": settings}


def reader_at(path: str) -> dict[str, Any] | None:
    """Class and settings of the data source that reads the images at a path; None where that is a name, or not there.

    >>> reader_at("digits") is None
    True
    """
    place = Path(path).expanduser()
    if folded(path) in map(folded, classes("data")) or not (_is_file(place) or _is_folder(place)):
        return None
    if _is_file(place):
        reader = "manifest.Manifest"
    elif any((place / each).is_file() for each in ("dataset_dict.json", "dataset_info.json")):
        reader = "hugging_face.HuggingFace"
    elif any(place.glob("*.tar")):
        reader = "webdataset.WebDataset"
    elif any(place.glob("*.parquet")) or any(place.glob("data/*.parquet")):
        reader = "parquet.Parquet"
    else:
        reader = "image_folder.ImageFolder"
    return {"class_path": f"toughen.data.{reader}", "init_args": {"path": path}}


def find_recipe(name: str) -> Path:
    """The file that `--config` means: a path, or the name of a shipped recipe or study, ignoring case and underscores.

    Raises:
        InputError: neither a file nor one of these.
    """
    file = Path(name)
    if _is_file(file):
        return file
    known = {folded(entry.name): entry for entry in (*studies().values(), *recipes().values())}
    if folded(name) in known:
        return Path(known[folded(name)].path)
    near = did_you_mean(name, recipes()).rpartition("Known:")[0]
    if _is_file(file / "config.yaml"):
        near = f"did you mean the run's {file / 'config.yaml'}? "
    raise InputError(
        f"--config: no file and no recipe {name!r}; {near}expected a YAML file of settings, or a recipe that "
        "`toughen list recipes` names"
    )


def _is_file(path: Path) -> bool:
    """Whether there is such a file; no system has one whose name is too long or holds a null."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def folded(name: str) -> str:
    """A name as it is compared: without case, underscores and dashes.

    >>> folded("small_cnn") == folded("SmallCNN")
    True
    """
    return name.replace("_", "").replace("-", "").lower()


def _folders(kind: str) -> list[tuple[Path, str]]:
    """Where the classes of a kind are looked for: folders with their packages, later ones first in rank."""
    if kind == "optimizers":
        spec = importlib.util.find_spec("torch")  # which imports nothing
        assert spec is not None and spec.submodule_search_locations
        return [
            (Path(spec.submodule_search_locations[0]) / "optim", "torch.optim"),
            (HERE / "training", "toughen.training"),
        ]
    package = KINDS[kind].split(".")
    folder = HERE.joinpath(*package[1:-2]) if package[0] == "toughen" else HERE
    folder = folder / kind if (folder / kind).is_dir() else folder
    return [(folder, ".".join(folder.relative_to(HERE.parent).parts))]


@dataclass(frozen=True)
class _Declared:
    """A class as its file declares it: what names call it, the names of its bases, what its constructor takes."""

    entry: Entry
    bases: list[str]
    takes: set[str]


@cache
def _declared(folder: Path, package: str) -> dict[str, _Declared]:
    """The classes in the files of a folder by name. No syntax tree is kept: a large one slows whatever follows."""
    found = {}
    for file in sorted(folder.glob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                summary = (ast.get_docstring(node) or f"see {package}.{node.name}").partition("\n")[0]
                makers = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
                takes = {each.arg for maker in makers for each in maker.args.args + maker.args.kwonlyargs}
                bases = [_last(ast.unparse(base).partition("[")[0]) for base in node.bases]
                found[node.name] = _Declared(
                    Entry(node.name, summary, f"{package}.{file.stem}.{node.name}"), bases, takes
                )
    return found


def _descends(name: str, known: set[str], found: Mapping[str, _Declared]) -> bool:
    """Whether a class is one of the known ones or a child of one."""
    bases = found[name].bases if name in found else []
    # Our SGD is a child of torch's.
    return name in known or any(_descends(each, known, found) for each in bases if each != name)


def _last(path: str) -> str:
    return path.rpartition(".")[2]
