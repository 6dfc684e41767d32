"""Pages of HTML that people open: one file, no JavaScript, nothing from elsewhere.

Every text is escaped by the template engine; characters that no page may hold, or that would hide how a text reads,
are made visible. `page_style.css` beside this module is the look of all pages, included by their templates. What
a page shows is decided elsewhere (`rl.report`, `judge_training.evaluation_page`).
"""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_UNSHOWABLE = re.compile("[\ud800-\udfff\ufffe\uffff\x7f-\x9f]")
_VISIBLE = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {
    code: f"[U+{code:04X}]" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def page_environment(folder: Path) -> Environment:
    """The template engine for the templates of a folder, which may include `page_style.css`."""
    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment


def showable(text: str) -> str:
    """The text with what a page may not hold, or what would hide how it reads, made visible.

    Control characters become their pictures, characters that turn the direction of text become `[U+202E]` and the
    like, and what has no form at all becomes U+FFFD.
    """
    return _UNSHOWABLE.sub("\ufffd", text.replace("\r\n", "\n").translate(_VISIBLE))


def _finalize(value: object) -> object:
    """What the template engine does with every value before it escapes it."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return showable(value)
    return "–" if value is None else value


def number(value: float | None, digits: int = 3) -> str:
    """A number for people: whole numbers with separators, others with a few digits."""
    if value is None:
        return "–"
    if abs(value) < 1e-12:  # what is left of a difference of equal sums
        return "0"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.{digits}f}" if 0.001 <= abs(value) < 1e6 else f"{value:.3g}"
