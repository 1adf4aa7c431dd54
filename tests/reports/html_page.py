"""A reader of pages, and what holds for every one of them."""

from collections.abc import Iterator
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr", "input", "source"}


class Page(HTMLParser):
    """Every element with its attributes and its text; unbalanced tags are an error.

    Attributes:
        elements: (tag, attributes) in the order of the page.
        text: all text outside style elements, with single spaces.
        cells: text of every table cell.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.cells: list[str] = []
        self._open: list[str] = []
        self._texts: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"
        self.text = " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"{tag} closed at {self.getpos()} out of turn"

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self._texts.append(data)
        if any(tag in self._open for tag in ("td", "th")):
            self.cells[-1] = (self.cells[-1] + data).strip()

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def addresses(self) -> Iterator[str]:
        for _, attributes in self.elements:
            yield from (attributes[name] for name in ("src", "href", "data", "action", "poster") if name in attributes)


def check_self_contained(html: str) -> Page:
    """What holds for every page: nothing is loaded, everything has a text for those who do not see it."""
    page = Page(html)
    assert all(address.startswith(("#", "data:")) or ":" not in address for address in page.addresses())
    assert not page.all("script")
    assert "@import" not in html
    assert html.count("url(") == html.count("url(#")
    assert all(image["alt"] for image in page.all("img"))
    assert all(drawing["aria-label"] and drawing["role"] == "img" for drawing in page.all("svg"))
    ids = page.ids()
    assert len(ids) == len(set(ids))
    targets = {address[1:] for address in page.addresses() if address.startswith("#")}
    labels = {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert targets | labels <= set(ids)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    return page
