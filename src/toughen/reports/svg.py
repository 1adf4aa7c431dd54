"""SVG from a matplotlib figure, to stand inside a page: with the page's colours and ids of its own."""

import io
import re
from collections.abc import Callable
from html import escape

import matplotlib.style
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Matplotlib needs literal colours; each of these stands for a CSS variable of the page, so that one drawing
# serves the light and the dark scheme.
INK, MUTED, GRID, PAPER = "#010001", "#010002", "#010003", "#010004"
SERIES = ("#020001", "#020002", "#020003", "#020004", "#020005", "#020006")
CLEAN, ATTACKED = SERIES[0], SERIES[1]
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", PAPER: "--paper"} | {
    color: f"--series-{number}" for number, color in enumerate(SERIES, 1)
}

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "toughen",
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelsize": 9.5,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
}


def draw(name: str, label: str, size: tuple[float, float], paint: Callable[[Axes], None]) -> Markup:
    """Let `paint` draw on one pair of axes and return the SVG element.

    Args:
        name: unique in the page; prefixes every id.
        label: what a reader who cannot see the plot is told.
        size: width and height in the drawing's own units of 1/72 inch; the page scales it.
        paint: draws with the colours of this module.
    """
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), layout="constrained", facecolor="none")
        paint(figure.subplots())
        svg = _written(figure)
    return Markup(_inline(svg, name, label))


def _written(figure: Figure) -> str:
    """The figure as SVG; `savefig` draws it once more before, to lay it out, which drawing does by itself."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return buffer.getvalue()


def _inline(svg: str, name: str, label: str) -> str:
    svg = svg[svg.index("<svg") :]
    # The style element would restyle the whole page: its rule is `*`.
    for pattern in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r"<!--.*?-->"):
        svg = re.sub(pattern, "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', svg)
    head = f'<svg class="plot" role="img" aria-label="{escape(label)}" {box[0] if box else ""}>'
    svg = head + svg[svg.index(">") + 1 :]
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    # Text takes the page's font. Matplotlib up to 3.10 writes one `font:`, later ones write its parts.
    svg = re.sub(r"font: (?:(\w+) )?([\d.]+px) [^;\"]*", r"font-weight: \1; font-size: \2", svg)
    svg = re.sub(r"font-family: [^;\"]*(; )?|font-weight: ; ", "", svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    return re.sub(r"\n\s*", "\n", svg).strip()
