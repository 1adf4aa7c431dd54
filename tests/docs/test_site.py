"""The site builds without a warning, and everything public has its place in it."""

import re
import zlib
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import toughen
from toughen import catalog

ROOT = Path(__file__).parents[2]


def test_links_anchors_and_nav_lead_somewhere_and_every_public_module_has_a_place(tmp_path: Path) -> None:
    """The strict build without plugins and the published theme, which take most of the time."""
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), plugins=[], theme="mkdocs"))
    pages = "".join(page.read_text() for page in (tmp_path / "api").rglob("*.html"))
    files = [path.relative_to(ROOT / "src").with_suffix("") for path in (ROOT / "src").rglob("*.py")]
    public = {
        ".".join(path.parts).removesuffix(".__init__") for path in files if not re.match(r"_(?!_init__)", path.name)
    }
    assert set(re.findall(r"::: ([\w.]+)", pages)) == public


@pytest.mark.nightly  # half a minute
def test_docstrings_are_rendered_whole(tmp_path: Path) -> None:
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path)))
    packed = (tmp_path / "objects.inv").read_bytes().split(b"\n", 4)[4]
    named = {line.partition(" ")[0] for line in zlib.decompress(packed).decode().splitlines()}
    exported = {f"toughen.{name}" for name in toughen.__all__}
    paths = {entry.path for kind in catalog.KINDS for entry in catalog.classes(kind).values()}
    ours = {path for path in paths if path.startswith("toughen.")}
    assert (exported | ours) - named == {"toughen.__version__"}
    for page in (tmp_path / "api").rglob("*.html"):
        unread = re.findall(
            r"<p>(?:Args|Returns|Raises|Attributes|Yields):.*|<blockquote>|&gt;&gt;&gt; .*</p>", page.read_text()
        )
        assert not unread, page


def test_decisions_are_numbered_once_each() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [int(page.name[:4]) for page in pages]
    assert numbers == list(range(1, len(pages) + 1))
    assert [page.read_text().startswith(f"# {number}. ") for page, number in zip(pages, numbers, strict=True)] == [
        True
    ] * len(pages)
