"""A collection as a job: from a recipe to a teacher's judgments."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from judge_training.collection.collect import CollectionFolder, Teacher, collect
from judge_training.collection.spending import Spending
from judge_training.collection.steps import Rules
from judge_training.collection.unjudged import Unjudged, read_unjudged
from judge_training.scenarios import Catalog, load_release, load_scenarios
from recipes.job import Job, console
from recipes.judge_recipes import CollectRecipe
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
    data, rules, catalog = read_data(recipe), rules_of(recipe), catalog_of(recipe.criteria)
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


# From the recipe


def read_data(recipe: CollectRecipe) -> Unjudged:
    """The examples to judge."""
    return read_unjudged(
        recipe.data,
        recipe.kind,
        columns=recipe.columns,
        labelled=recipe.human_labels != "none",
        source=recipe.source,
        on_bad=recipe.on_bad,
        limit=recipe.limit,
    )


def rules_of(recipe: CollectRecipe) -> Rules:
    """How the teacher is asked, and what is kept."""
    protocol = builtin_protocol() if recipe.protocol is None else JudgeProtocol.load(recipe.protocol)
    return Rules(protocol, recipe.teacher.model, recipe.human_labels, recipe.both_orders)


def catalog_of(folder: Path | None) -> Catalog:
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
        dropped = f", dropped {sum(count.dropped.values()):,} ({listed(count.dropped)})" if count.dropped else ""
        left = f", not finished {count.unfinished:,}" if count.unfinished else ""
        console.print(f"  {kind}: kept {count.kept:,} of {count.input:,}{dropped}{left}", highlight=False)
    if manifest.verdicts:
        console.print(f"  verdicts kept: {listed(manifest.verdicts)}", highlight=False)
    if manifest.unknown_scenario:
        console.print(
            f"  {manifest.unknown_scenario:,} without a known scenario: the basic criteria guided the teacher",
            style="yellow",
            highlight=False,
        )
    if manifest.skipped:
        console.print(f"  rows skipped while reading: {listed(manifest.skipped)}", highlight=False)
    usage = manifest.usage
    reported = "reported by the server"
    if usage.estimated_calls:
        reported = f"of which {usage.estimated_calls:,} calls without reported usage are estimated"
    cost = f", cost {usage.cost:,.4g}" if usage.cost is not None else ""
    failed = f", {sum(usage.failed.values()):,} of them failed ({listed(usage.failed)})" if usage.failed else ""
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


def listed(counts: Mapping[Name, int]) -> str:
    """Counts by name, in words."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
