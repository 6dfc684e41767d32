"""An evaluation as it is shown: one sheet of tables and pictures, for the terminal, as JSON and as a page.

A `Sheet` is what an evaluation has to say. The page is one file without JavaScript that opens offline, with the look
of a run's report (`rewards.page`); pictures are drawn only when there is a page. What stands on a sheet is decided in
`sheets` and `reward_sheets`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup
from pydantic import JsonValue

from judge_training.tables import Table
from rewards.documents import write_text
from rewards.page import page_environment

TEMPLATE = "evaluation_page.html"


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the large numbers at the head of a page."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture, drawn when it is needed."""

    caption: str
    draw: Callable[[], Markup]


@dataclass(frozen=True, slots=True)
class Sheet:
    """What an evaluation has to say."""

    title: str
    headline: dict[str, JsonValue]
    """The main numbers for JSON, shares in percent."""
    tiles: tuple[Tile, ...]
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """Sentences that belong with the numbers."""


def write_evaluation_page(path: Path, sheets: Sequence[Sheet], *, about: Mapping[str, str]) -> Path:
    """Write sheets as one page; `about` says what was measured and how.

    Raises StorageError when it cannot be written.
    """
    template = page_environment(Path(__file__).parent).get_template(TEMPLATE)
    pictures = [[(figure.caption, figure.draw()) for figure in sheet.figures] for sheet in sheets]
    title = ", ".join(dict.fromkeys(sheet.title for sheet in sheets))
    write_text(path, template.stream(title=title, sheets=list(zip(sheets, pictures, strict=True)), about=about))
    return path
