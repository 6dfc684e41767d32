"""`--dry-run` of a recipe and of an evaluation: from what was typed to the estimate, and the estimate in words.

A number that is not known is printed as such, and a note says what would tell it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recipes.dry_run import Options, estimate_cost
from recipes.loading import differing_keys
from recipes.planning import Item, Work, plan_recipe
from recipes.schema import BaseRecipe, Recipe, TrainingRecipe
from rewards.errors import InputError
from rewards.judges.config import JudgeSettings
from rewards.judging_cost import CostEstimate, CostLine, Rate, plan_items
from rewards.protocol.spec import JudgeProtocol
from rl.run_folder import RunFolder

UNKNOWN = "not known"


def dry_run_recipe(recipe: Recipe, options: Options) -> int:
    """Print what a recipe's judge would be asked; raises InputError for a recipe that asks none about candidates."""
    if not isinstance(recipe, BaseRecipe):
        raise InputError(f"expected a recipe with a judge for --dry-run, got {recipe.recipe}")
    run = RunFolder(recipe.output)
    show_cost(
        estimate_cost(
            recipe.judge,
            lambda protocol: plan_recipe(recipe, protocol, recipe.judge.mode),
            options,
            cache=recipe.judge.cache or run.cache,
            card=run.judge if _same_judge(run, recipe.judge) else None,
            certificate=recipe.judge_certificate if isinstance(recipe, TrainingRecipe) else None,
        ),
        options,
    )
    return 0


def _same_judge(run: RunFolder, judge: JudgeSettings) -> bool:
    """Whether a run folder's judge is the one that these settings name."""
    if not run.recipe.is_file():
        return False
    before = json.loads(run.recipe.read_text(encoding="utf-8"))["recipe"].get("judge", {})
    return not differing_keys({"judge": before}, {"judge": judge.model_dump(mode="json")})


def dry_run_items(
    judge: JudgeSettings, sets: Sequence[tuple[str, Sequence[Item]]], options: Options, *, folder: Path | None = None
) -> int:
    """Print what a judge would be asked about named sets of items, each of one kind; pairs are asked in both orders.

    folder: where an evaluation keeps its answers, whose cache and judge are looked up.
    """
    items = tuple(item for _, some in sets for item in some)

    def plan_of(protocol: JudgeProtocol) -> Work:
        return Work(tuple(plan_items(name, some, protocol, judge.mode) for name, some in sets), items)

    cache = judge.cache or (None if folder is None else folder / "judgments.sqlite")
    show_cost(estimate_cost(judge, plan_of, options, cache=cache), options)
    return 0


def show_cost(found: CostEstimate, options: Options) -> None:
    """Print an estimate, as a table with notes or as JSON."""
    console = Console()
    if options.as_json:
        console.print_json(found.model_dump_json())
        return
    console.print(_table(found))
    for line in _lines(found):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _table(found: CostEstimate) -> Table:
    table = Table("questions", title=f"What {found.judge} would be asked")
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
    hours = UNKNOWN if found.device_hours is None else f"{most}{_short(found.device_hours)}"
    count = "" if found.devices is None else f" ({found.devices} x {found.device})"
    return [
        f"new tokens:   {new}",
        f"rate:         {_rate(found.rate)}",
        f"time:         {UNKNOWN if found.seconds is None else most + _duration(found.seconds)}",
        f"{found.device}-hours:".ljust(14) + f"{hours}{count}",
        *(f"- {note}" for note in found.notes),
        "nothing was written (dry run)",
    ]


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return UNKNOWN
    shown = [
        f"{_short(value)} {what} a second"
        for value, what in ((rate.tokens_per_second, "tokens"), (rate.judgments_per_second, "judgments"))
        if value is not None
    ]
    return f"{', '.join(shown)} ({rate.source})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:,.3g} h"
