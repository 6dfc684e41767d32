"""A collection as a job: from a recipe to a teacher's judgments, or to what they would cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.table import Table

from judge_training.collection.collect import CollectionFolder, Teacher, collect
from judge_training.collection.estimate import EXPECTED_TOKENS, Estimate, estimate, token_counter
from judge_training.collection.spending import Spending, estimate_tokens
from judge_training.collection.steps import Rules, make_task
from judge_training.collection.unjudged import Unjudged, read_unjudged
from judge_training.scenarios import Catalog, load_release, load_scenarios
from recipes.job import Job, console
from recipes.schema import CollectRecipe
from rewards.budget import FailureBudget
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.spec import ChatTokenizer, Decoding, JudgeProtocol
from rl.run_folder import StageRecord

Name = TypeVar("Name", bound=str)

if TYPE_CHECKING:
    from judge_training.collection.manifest import CollectionManifest


def collect_examples(job: Job, recipe: CollectRecipe) -> None:
    """Ask the teacher, and say what came out."""
    Spending(recipe, recipe.teacher.max_new_tokens)  # refuses limits that cannot be kept, before reading
    data, rules, catalog = _read(recipe), _rules(recipe), _catalog(recipe.criteria)
    console.print(f"[bold]Collecting judgments of {len(data.examples)} examples by {recipe.teacher.model}[/bold]")
    folder, started = CollectionFolder(job.run.path), time.perf_counter()
    manifest = collect(
        data.examples,
        folder,
        _teacher(recipe),
        rules,
        catalog,
        prices=recipe,
        budget=FailureBudget(recipe.failures.limit, recipe.failures.minimum),
        skipped=data.skipped,
    )
    if not manifest.stopped and not job.done("collect"):
        counts: dict[str, int | float] = {"kept": sum(count.kept for count in manifest.kinds.values())}
        job.run.finish(StageRecord(stage="collect", seconds=time.perf_counter() - started, counts=counts))
        job.tracker.scalars("collect", 0, counts)
        job.tracker.artifact("dataset", folder.examples)
    _say(manifest, folder)


def print_estimate(recipe: CollectRecipe) -> None:
    """Print what a collection would ask and cost; sends nothing and writes nothing."""
    Spending(recipe, recipe.teacher.max_new_tokens)
    data, catalog = _read(recipe), _catalog(recipe.criteria)
    decided = CollectionFolder(recipe.output).decided()
    tasks = [make_task(example, catalog) for example in data.examples if example.id not in decided]
    tokenizer = recipe.teacher.tokenizer
    count = estimate_tokens if tokenizer is None else token_counter(tokenizer)
    found = estimate(tasks, _rules(recipe), count, recipe, max_new_tokens=recipe.teacher.max_new_tokens)
    out = Console()
    out.print(_estimate_table(found))
    unknown = sum(not task.known for task in tasks)
    for line in _estimate_notes(recipe, found, already=len(data.examples) - len(tasks), unknown=unknown):
        out.print(line, highlight=False, soft_wrap=True)


# From the recipe


def _read(recipe: CollectRecipe) -> Unjudged:
    return read_unjudged(
        recipe.data,
        recipe.kind,
        columns=recipe.columns,
        labelled=recipe.human_labels != "none",
        source=recipe.source,
        on_bad=recipe.on_bad,
        limit=recipe.limit,
    )


def _rules(recipe: CollectRecipe) -> Rules:
    protocol = builtin_protocol() if recipe.protocol is None else JudgeProtocol.load(recipe.protocol)
    return Rules(protocol, recipe.teacher.model, recipe.human_labels, recipe.both_orders)


def _catalog(folder: Path | None) -> Catalog:
    """The criteria that ship, a folder of scenario files, or a copy of AUTO-J's release."""
    if folder is not None and any(folder.rglob("specials/*.yaml")):
        return load_release(folder)
    return load_scenarios(folder)


def _teacher(recipe: CollectRecipe) -> Teacher:
    from rewards.judges.endpoint import EndpointBackend

    teacher = recipe.teacher
    server = teacher.endpoint.model_copy(update={"top_logprobs": 0})
    return Teacher(
        EndpointBackend(teacher.model, server, ChatTokenizer()),
        f"endpoint:{server.base_url}:{teacher.model}:{server.api}",
        Decoding(max_new_tokens=teacher.max_new_tokens, temperature=teacher.temperature),
        server.concurrency,
    )


# In the terminal


def _say(manifest: CollectionManifest, folder: CollectionFolder) -> None:
    for kind, count in manifest.kinds.items():
        dropped = f", dropped {sum(count.dropped.values()):,} ({_listed(count.dropped)})" if count.dropped else ""
        left = f", not finished {count.unfinished:,}" if count.unfinished else ""
        console.print(f"  {kind}: kept {count.kept:,} of {count.input:,}{dropped}{left}", highlight=False)
    if manifest.verdicts:
        console.print(f"  verdicts kept: {_listed(manifest.verdicts)}", highlight=False)
    if manifest.unknown_scenario:
        console.print(
            f"  {manifest.unknown_scenario:,} without a known scenario: the basic criteria guided the teacher",
            style="yellow",
            highlight=False,
        )
    if manifest.skipped:
        console.print(f"  rows skipped while reading: {_listed(manifest.skipped)}", highlight=False)
    usage = manifest.usage
    reported = "reported by the server"
    if usage.estimated_calls:
        reported = f"of which {usage.estimated_calls:,} calls without reported usage are estimated"
    cost = f", cost {usage.cost:,.4g}" if usage.cost is not None else ""
    failed = f", {sum(usage.failed.values()):,} of them failed ({_listed(usage.failed)})" if usage.failed else ""
    console.print(
        f"  {sum(usage.calls.values()):,} calls{failed}; {usage.prompt_tokens:,} prompt and {usage.new_tokens:,} new "
        f"tokens ({reported}){cost}",
        highlight=False,
    )
    if manifest.stopped:
        console.print(
            f"\nStopped: {manifest.stopped}. Everything is kept; --resume with a higher limit goes on.",
            style="yellow",
            highlight=False,
        )
    console.print(
        f"\n[bold]{folder.examples}[/bold] is for training; dropped.jsonl says why the others are not there."
    )


def _listed(counts: Mapping[Name, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


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
        notes.append(f"dropped without a call: {_listed(found.without_calls)}")
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
    return [*notes, "nothing was sent (dry run)"]
