"""Pictures as inline SVG in the colours of the page they stand in.

matplotlib draws with marker colours that are then replaced by CSS variables, so one picture is readable in a
light and in a dark theme; text stays text, in the page's font. Nothing is loaded from anywhere and ids carry a
prefix, so that many pictures can stand in one page. What is drawn is decided elsewhere (`rl.figures`,
`judge_training.figures`).
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, ACCENT, SECOND, GOOD, BAD, WARN = (f"#0000{number:02x}" for number in range(161, 169))
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
    GOOD: "var(--good)",
    BAD: "var(--bad)",
    WARN: "var(--warn)",
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "autoj",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
}


class Picture:
    """One figure being drawn; `svg` holds it once the block is left."""

    def __init__(self, identifier: str, title: str, width: float, height: float) -> None:
        self._identifier = identifier
        self._title = title
        self._size = (width, height)
        self.svg = Markup("")

    def __enter__(self) -> Picture:
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self._context = mpl.rc_context(_STYLE)
        self._context.__enter__()
        self._figure: Figure = Figure(figsize=self._size)
        self._canvas = FigureCanvasSVG(self._figure)
        return self

    def axes(self, columns: int = 1, column: int = 0) -> Axes:
        """The only panel, or one of several side by side."""
        return self._figure.add_subplot(1, columns, column + 1)

    def __exit__(self, *exception: object) -> None:
        try:
            if exception[0] is None:
                buffer = io.StringIO()
                metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
                self._figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
                self.svg = _inline(buffer.getvalue(), self._identifier, self._title)
        finally:
            self._context.__exit__(None, None, None)


_FONT = re.compile(r"font-family: [^;\"]*;?\s*")
_STYLE_BLOCK = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)


def _inline(svg: str, identifier: str, title: str) -> Markup:
    """A matplotlib SVG as part of a page: no prolog, no addresses, CSS variables as colours, ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<(?:title|desc)>.*?</(?:title|desc)>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(?::\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{identifier}-', svg)
    svg = re.sub(r'href="#', f'href="#{identifier}-', svg)
    svg = svg.replace("url(#", f"url(#{identifier}-")
    svg = _STYLE_BLOCK.sub("", svg)
    svg = _FONT.sub("", svg)
    for marker, variable in _VARIABLES.items():
        svg = svg.replace(marker, variable)
    size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', svg)
    width = float(size.group(1)) if size else 400.0
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', f'style="max-width: {width * 4 / 3:.0f}px"', svg, count=1)
    label = str(Markup.escape(title))
    return Markup(svg.replace("<svg", f'<svg class="picture" role="img" aria-label="{label}"', 1))  # noqa: S704
