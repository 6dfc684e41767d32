"""`autoj inspect RUN_FOLDER`: draw judgments to read, so many of every kind."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from rewards.judges.config import Settings


class InspectArguments(Settings):
    """Draw judgments to read: stratified by outcome, rating, scenario and reason of failure."""

    run: Path
    """The run folder."""
    size: int = Field(default=50, ge=1)
    """How many."""
    seed: int = 0
    """Seed of the draw."""
    out: Path | None = None
    """Write them here too, as JSONL with an empty `label` for a person to fill."""


def main(arguments: list[str]) -> int:
    """Draw, print, and write if asked."""
    import tyro

    if arguments and not arguments[0].startswith("-"):
        arguments = ["--run", *arguments]
    settings = tyro.cli(InspectArguments, args=arguments, prog="autoj inspect", description=InspectArguments.__doc__)
    from recipes.selecting import draw_judgments
    from rewards.jsonl import write_records

    items = draw_judgments(settings.run, size=settings.size, seed=settings.seed)
    console = Console()
    for number, item in enumerate(items, start=1):
        console.rule(f"{number} of {len(items)}: {item.title}")
        for title, text in item.texts():
            console.print(Panel(Text(text), title=title, title_align="left"))
    if settings.out is not None:
        write_records(settings.out, items)
        print(f"{len(items)} judgments in {settings.out}; add `label` to a line, then autoj evaluate-judge pairs")
    return 0
