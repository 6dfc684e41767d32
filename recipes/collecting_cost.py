"""`--dry-run` of a collection: what a teacher would be asked, what that costs, and how long it takes.

A teacher is never asked for it, since its answers may cost money: time needs a rate that was measured elsewhere.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from judge_training.collection.collect import CollectionFolder
from judge_training.collection.estimate import EXPECTED_TOKENS, Estimate, estimate, token_counter
from judge_training.collection.spending import Spending, estimate_tokens
from judge_training.collection.steps import make_task
from recipes.collecting import catalog_of, listed, read_data, rules_of
from recipes.cost_sum import given_rate
from recipes.dry_run_options import Options
from recipes.judge_recipes import CollectRecipe
from recipes.show_cost import duration, short
from rewards.errors import InputError
from rewards.judging_cost import seconds_for


def print_estimate(recipe: CollectRecipe, options: Options) -> int:
    """Print what a collection would ask and cost; sends nothing and writes nothing. Returns the exit code."""
    if options.probe:
        raise InputError(
            "expected no --probe with a teacher, whose answers may cost money; give a rate measured elsewhere with "
            "--rate TOKENS_PER_SECOND"
        )
    Spending(recipe, recipe.teacher.max_new_tokens)
    data, catalog = read_data(recipe), catalog_of(recipe.criteria)
    decided = CollectionFolder(recipe.output).decided()
    tasks = [make_task(example, catalog) for example in data.examples if example.id not in decided]
    tokenizer = recipe.teacher.tokenizer
    count = estimate_tokens if tokenizer is None else token_counter(tokenizer)
    found = estimate(tasks, rules_of(recipe), count, recipe, max_new_tokens=recipe.teacher.max_new_tokens)
    seconds, hours = _time(found, options)
    out = Console()
    if options.as_json:
        out.print_json(data=found.model_dump(mode="json") | {"seconds": seconds, "device_hours": hours})
        return 0
    out.print(_estimate_table(found))
    unknown = sum(not task.known for task in tasks)
    notes = _estimate_notes(recipe, found, already=len(data.examples) - len(tasks), unknown=unknown)
    for line in (*notes, *_time_notes(seconds, hours, options), "nothing was sent (dry run)"):
        out.print(line, highlight=False, soft_wrap=True)
    return 0


def _time(found: Estimate, options: Options) -> tuple[float | None, float | None]:
    """Seconds, and hours of the server's devices, of all calls with answers as long as expected."""
    calls, prompt, new = found.total
    seconds = seconds_for(given_rate(options), calls, prompt + new)
    return seconds, None if seconds is None or options.devices is None else seconds * options.devices / 3600


def _time_notes(seconds: float | None, hours: float | None, options: Options) -> list[str]:
    if seconds is None:
        return ["for the time, give the server's --rate (tokens a second, prompts and answers together)"]
    if hours is None:
        return [f"time: at most {duration(seconds)}; for GPU-hours, give --devices, the GPUs of the server"]
    return [f"time: at most {duration(seconds)}; GPU-hours: at most {short(hours)} ({options.devices} x GPU)"]


def _estimate_table(found: Estimate) -> Table:
    priced = found.most_cost is not None
    table = Table("call", title=f"{found.examples:,} examples")
    for name in ("calls", "prompt tokens", "expected new tokens", *(["cost"] if priced else [])):
        table.add_column(name, justify="right")
    for one in found.calls:
        row = [one.call, f"{one.calls:,}", f"{one.prompt_tokens:,}", f"{one.new_tokens:,}"]
        table.add_row(*row, *([f"{one.cost:,.4g}"] if one.cost is not None else []))
    calls, prompt, new = found.total
    cost = sum(one.cost or 0.0 for one in found.calls)
    table.add_section()
    table.add_row("at most", f"{calls:,}", f"{prompt:,}", f"{new:,}", *([f"{cost:,.4g}"] if priced else []))
    return table


def _estimate_notes(recipe: CollectRecipe, found: Estimate, *, already: int, unknown: int) -> list[str]:
    counted = "characters / 4" if recipe.teacher.tokenizer is None else f"counted with {recipe.teacher.tokenizer}"
    assumed = ", ".join(f"{one.call} {EXPECTED_TOKENS[one.call]}" for one in found.calls)
    notes = [f"prompt tokens: {counted}; new tokens assumed for a call: {assumed}"]
    if recipe.human_labels == "agree" and any(one.call == "second_order" for one in found.calls):
        notes.append("a pair's second order is asked only where the first agrees with people, so calls may be fewer")
    if found.without_calls:
        notes.append(f"dropped without a call: {listed(found.without_calls)}")
    if already:
        notes.append(f"{already:,} examples are decided in {recipe.output} already and are not counted")
    if unknown:
        notes.append(f"{unknown:,} examples without a known scenario are guided by the basic criteria")
    if found.most_cost is None:
        notes.append("for a cost, give --price_in and --price_out (per million tokens)")
    else:
        notes.append(f"if every answer ran to {recipe.teacher.max_new_tokens:,} tokens: cost {found.most_cost:,.4g}")
    for name, limit in (("max_calls", recipe.max_calls), ("max_cost", recipe.max_cost)):
        if limit is not None:
            notes.append(f"the job stops at {name} {limit:,}")
    return notes
