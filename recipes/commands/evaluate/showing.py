"""Showing an evaluation: as tables in the terminal, as JSON, as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from pydantic import BaseModel, JsonValue

from rewards.judges.config import JudgeSettings, Settings

if TYPE_CHECKING:
    from judge_training.evaluation_page import Sheet

JsonFlag = Annotated[bool, tyro.conf.arg(name="json")]


class Shown(Settings):
    """How the numbers are shown."""

    as_json: JsonFlag = False
    """Print JSON instead of tables."""
    html: Path | None = None
    """Also write a page with pictures to this file."""


class Judging(Shown):
    """Who judges, where nothing was judged yet."""

    judge: JudgeSettings = JudgeSettings()
    """Who judges, where no file of answers is given."""
    output: Path | None = None
    """Folder of the judge's answers; started again it goes on where it stopped. Without it: under runs/."""


def show(
    arguments: Shown,
    sheets: Sequence[Sheet],
    details: BaseModel,
    about: Mapping[str, str],
    *,
    headline: Mapping[str, JsonValue] | None = None,
) -> None:
    """Print the sheets, and write the page when one is asked for.

    JSON has the headline numbers at its top level (the first sheet's, unless others are given) and the whole result,
    with all intervals, under "details".
    """
    from judge_training.evaluation_page import write_evaluation_page

    if arguments.html is not None:
        write_evaluation_page(arguments.html, sheets, about={name: value for name, value in about.items() if value})
    if arguments.as_json:
        top = sheets[0].headline if headline is None else headline
        print(json.dumps({**top, "details": details.model_dump(mode="json")}, indent=2, ensure_ascii=False))
        return
    for sheet in sheets:
        _print(sheet)
    if arguments.html is not None:
        print(f"page: {arguments.html}")


def _print(sheet: Sheet) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{escape(sheet.title)}[/bold]")
    for one in sheet.tables:
        if not one.rows or one.page_only:
            continue
        table = Table(*map(escape, one.head), title=escape(one.title), caption=escape(one.note) or None)
        for row in one.rows:
            table.add_row(*map(escape, row))
        console.print(table)
    for note in sheet.notes:
        console.print(escape(note), style="dim")
