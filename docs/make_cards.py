"""Write docs/methods/: a card for every method, from its docstring, its settings and the recipes that use it.

Run by `make docs`, after a change to a method's docstring or settings.
"""

import inspect
import re
import sys
from pathlib import Path

import yaml
from docstring_parser import parse

from toughen import catalog
from toughen.settings.names import import_path

CARDS = Path(__file__).parent / "methods"


def card(name: str) -> str:
    """The page of one method."""
    entry = catalog.classes("methods")[name]
    method = import_path(entry.path)
    text = inspect.cleandoc(method.__doc__ or "")
    described = {item.arg_name: " ".join((item.description or "").split()) for item in parse(text).params}
    body = re.split(r"\n\s*Args:\n", text)[0].strip()
    lines = [f"# {name}", "", body, ""]
    parameters = [item for key, item in inspect.signature(method.__init__).parameters.items() if key != "self"]
    if parameters:
        lines += ["## Settings", "", "| setting | default | meaning |", "|---|---|---|"]
        for item in parameters:
            default = "" if item.default is item.empty else f"`{item.default!r}`".replace("|", "\\|")
            meaning = described.get(item.name, "").replace("|", "\\|")
            lines.append(f"| `--method.{item.name}` | {default} | {meaning} |")
        lines.append("")
    lines += ["## Launch", "", "```", f"toughen train --method {name}"]
    lines += [f"toughen train --config {recipe}" for recipe in recipes_of(name)]
    lines += ["```", "", f"Source code: `{entry.path.rpartition('.')[0].replace('.', '/')}.py`", ""]
    return "\n".join(lines)


def recipes_of(name: str) -> list[str]:
    """Names of the recipes that use a method."""
    found = []
    for recipe, entry in catalog.recipes().items():
        method = yaml.safe_load(Path(entry.path).read_text()).get("method")
        used = method["class_path"] if isinstance(method, dict) else method
        if used and catalog.find("methods", used, "method") == catalog.classes("methods")[name].path:
            found.append(recipe)
    return found


def pages() -> dict[str, str]:
    """Every file of the folder and its text."""
    names = sorted(catalog.classes("methods"))
    index = ["# Methods", "", *(f"- [{n}]({n}.md): {catalog.classes('methods')[n].summary}" for n in names), ""]
    return {"README.md": "\n".join(index), **{f"{name}.md": card(name) for name in names}}


def main() -> int:
    """Write the pages, and remove those of methods that are gone."""
    CARDS.mkdir(exist_ok=True)
    wanted = pages()
    for old in CARDS.glob("*.md"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        (CARDS / name).write_text(text)
    print(f"{len(wanted)} pages in {CARDS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
