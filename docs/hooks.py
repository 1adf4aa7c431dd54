"""What mkdocs asks for while it builds the site: the pages of the API, from the package tree, and the whole nav."""

import ast
import re
from pathlib import Path
from typing import Any

from griffe import Extension, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "toughen"
COPIED = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def rooms() -> dict[str, list[str]]:
    """Every package that holds public modules, by its dotted name, and the dotted names of these modules."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if path.stem == "__init__":
            found.setdefault(".".join(parts[:-1]), [])
        elif not path.stem.startswith("_"):
            found.setdefault(".".join(parts[:-1]), []).append(".".join(parts))
    return dict(sorted(found.items()))


def page_of(room: str) -> str:
    """The page of a room: `toughen.evaluation.checks` has api/evaluation/checks.md."""
    return "api/" + "/".join(room.split(".")[1:] or ["toughen"]) + ".md"


def summary(room: str) -> str:
    """The first paragraph of a room's docstring."""
    path = PACKAGE.joinpath(*room.split(".")[1:], "__init__.py")
    return " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[0].split())


def api_pages() -> dict[str, str]:
    """Every page of the API reference and its text."""
    pages = {}
    for room, modules in rooms().items():
        itself = (
            f"# {room}\n\n::: {room}\n    options: {{show_root_heading: false, show_source: false, members: false}}\n"
        )
        pages[page_of(room)] = "\n".join([itself, *(f"::: {module}\n" for module in modules)])
    rows = [f"| [{room}]({page_of(room)[4:]}) | {summary(room)} |" for room in rooms()]
    pages["api/index.md"] = "\n".join(["# API", "", "| room | what it holds |", "|---|---|", *rows, ""])
    return pages


def copied(page: str) -> str:
    """The text of a page from the root folder, with its links as the site has them."""

    def target(match: re.Match[str]) -> str:
        path = match[1].removeprefix("docs/")
        named = {source: site for site, source in COPIED.items()}.get(path, path)
        return f"]({named if '.' in named else named.rstrip('/') + '/index.md'})"

    return re.sub(r"\]\(((?:docs/|[A-Z]+\.md)[^)]*)\)", target, (ROOT / COPIED[page]).read_text())


def decisions() -> str:
    """The list of the decisions."""
    titles = {path.name: path.read_text().partition("\n")[0] for path in sorted((ROOT / "docs/decisions").glob("*.md"))}
    rows = [f"- [{title.removeprefix('# ')}]({name})" for name, title in titles.items()]
    return "\n".join(["# Decisions", "", "Why things are as they are.", "", *rows, ""])


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill in every entry of the nav that names a folder."""
    config.nav = [_filled(entry) for entry in config.nav or []]
    return config


def _filled(entry: Any) -> Any:
    if isinstance(entry, str):
        return entry
    ((title, value),) = entry.items()
    if isinstance(value, list):
        return {title: [_filled(inner) for inner in value]}
    if not value.endswith("/"):
        return entry
    if value == "api/":
        return {title: ["api/index.md", *({room.removeprefix("toughen."): page_of(room)} for room in rooms())]}
    pages = sorted(path.name for path in (ROOT / "docs" / value).glob("*.md") if path.name != "README.md")
    first = "README.md" if (ROOT / "docs" / value / "README.md").exists() else "index.md"
    return {title: [value + first, *(value + page for page in pages)]}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    made = {**api_pages(), **{page: copied(page) for page in COPIED}, "decisions/index.md": decisions()}
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


class Doctests(Extension):
    """Puts a fence around the doctests of a docstring, which Markdown would take for quotations."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring:
            block = re.compile(r"^( *)>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)
            obj.docstring.value = block.sub(lambda m: f"{m[1]}```pycon\n{m[0]}\n{m[1]}```", obj.docstring.value)
