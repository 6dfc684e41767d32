"""An estimate in words: a table of questions with notes for each judge, or JSON.

A number that is not known is printed as such, and a note says what would tell it.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from recipes.dry_run_options import Options
from rewards.judging_cost import CostEstimate, CostLine, Rate

UNKNOWN = "not known"


def show_costs(found: Sequence[CostEstimate], options: Options) -> int:
    """Print estimates, one below the other; as JSON the first one with the others in it. Returns the exit code."""
    first, *others = found
    console = Console()
    if options.as_json:
        whole = first.model_copy(update={"others": (*first.others, *others)})
        console.print_json(whole.model_dump_json())
        return 0
    for one in found:
        _show(one, console)
    console.print("nothing was written (dry run)", highlight=False)
    return 0


def _show(found: CostEstimate, console: Console) -> None:
    console.print(f"What {found.judge} would be asked", style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print(_table(found))
    for line in _lines(found):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print()


def _table(found: CostEstimate) -> Table:
    table = Table("questions")
    for name in ("calls", "in the cache", "prompt tokens"):
        table.add_column(name, justify="right")
    for line in found.lines:
        table.add_row(line.name, _calls(line), f"{line.cached:,}", _number(line.prompt_tokens))
    table.add_section()
    most = any(line.at_most for line in found.lines)
    table.add_row(
        "all", f"{'at most ' if most else ''}{found.calls:,}", f"{found.cached:,}", _number(found.prompt_tokens)
    )
    return table


def _calls(line: CostLine) -> str:
    return f"{'at most ' if line.at_most else ''}{line.calls:,}"


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _lines(found: CostEstimate) -> list[str]:
    most = "at most " if found.at_most else ""
    new = f"{UNKNOWN}, at most {found.most_new_tokens:,}" if found.new_tokens is None else f"{found.new_tokens:,}"
    hours = UNKNOWN if found.device_hours is None else f"{most}{short(found.device_hours)}"
    count = "" if found.devices is None else f" ({found.devices} x {found.device})"
    return [
        f"new tokens:   {new}",
        f"rate:         {_rate(found.rate)}",
        f"time:         {UNKNOWN if found.seconds is None else most + duration(found.seconds)}",
        f"{found.device}-hours:".ljust(14) + f"{hours}{count}",
        *(f"- {note}" for note in found.notes),
    ]


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return UNKNOWN
    shown = [
        f"{short(value)} {what} a second"
        for value, what in ((rate.tokens_per_second, "tokens"), (rate.judgments_per_second, "judgments"))
        if value is not None
    ]
    return f"{', '.join(shown)} ({rate.source})"


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:,.3g} h"
