"""The report: one page of HTML with everything in it, made from the files of a run folder.

Decisions. No JavaScript and nothing from elsewhere: the page opens offline, from a mail or an archive, and cannot
run what a model wrote. Every text is escaped by the template engine; characters that no page may hold are
replaced by visible ones. Any file of the run may be missing; the page then says what is not there. The page is
bounded: texts, candidates and prompts are capped with a note of how many there are (`report_browser`).

It measures nothing that a job should have measured: it counts and shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup
from pydantic import JsonValue

from rewards.documents import write_text
from rewards.errors import MissingFileError
from rewards.page import page_environment
from rl import figures
from rl.guard import describe
from rl.redact import redact
from rl.report_browser import anchor, browse, browse_evaluation
from rl.report_findings import count, findings, percent
from rl.report_review import read_review
from rl.report_summary import Summary, summarise
from rl.report_training import curves, step_times
from rl.run_folder import RunFolder

TEMPLATE = "report_template.html"
SCENARIOS = 80
"""Rows of the table of scenarios."""


def write_report(run: RunFolder) -> Path:
    """Write `report.html` of a run folder and return its path.

    Raises MissingFileError when there is no such folder, InputError (with file and line) when one of its files is
    not what it should be, and StorageError when the page cannot be written.
    """
    if not run.path.is_dir():
        raise MissingFileError(f"expected a run folder at {run.path}, found none")
    summary = summarise(run)
    prompts = browse(run)
    shown = {view.id for view in prompts}
    template = _environment().get_template(TEMPLATE)
    stream = template.stream(
        run=run,
        title=run.path.resolve().name,
        summary=summary,
        findings=findings(summary),
        tiles=_tiles(summary),
        settings=_settings(summary.recipe),
        about=_about(summary.recipe),
        pictures=_pictures(summary),
        failure_rows=_failure_rows(summary),
        scenarios=sorted(summary.scenarios.items(), key=lambda item: (-item[1].prompts, item[0]))[:SCENARIOS],
        training=curves(summary.series),
        step_times=step_times(summary.series),
        guard_curves=describe(summary.guard),
        prompts=prompts,
        evaluated=browse_evaluation(run),
        review=read_review(run, shown),
        prompt_total=summary.prompts if summary.prompts is not None else len(prompts),
    )
    write_text(run.report, stream)
    return run.report


def _environment() -> Environment:
    environment = page_environment(Path(__file__).parent)
    environment.filters |= {
        "percent": percent,
        "duration": duration,
        "anchor": _anchor,
        "compact": _compact,
        "count": count,
    }
    return environment


def _compact(value: JsonValue) -> str:
    """A setting as it is written in JSON, text without its quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _anchor(identifier: str, kind: str) -> str:
    return anchor(kind, identifier)


def duration(seconds: float) -> str:
    """`42.0 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass(frozen=True)
class Tile:
    """One of the large numbers at the head of the page."""

    value: str
    label: str
    note: str = ""


def _tiles(summary: Summary) -> list[Tile]:
    tiles = []
    if summary.prompts is not None:
        tiles.append(Tile(f"{summary.prompts:,}", "prompts"))
    if summary.candidates is not None:
        tiles.append(Tile(f"{summary.candidates:,}", "candidates"))
    if summary.ratings or summary.comparisons:
        ratings = summary.ratings.total if summary.ratings else 0
        comparisons = summary.comparisons.total if summary.comparisons else 0
        tiles.append(Tile(f"{ratings + comparisons:,}", "judged", f"{ratings:,} ratings, {comparisons:,} comparisons"))
    agreement = summary.comparisons.agreement.agreement if summary.comparisons else None
    if agreement is not None:
        tiles.append(
            Tile(
                percent(agreement.value),
                "agreement of orders",
                f"{percent(agreement.low)} to {percent(agreement.high)}",
            )
        )
    if summary.best_of_n and summary.best_of_n.points:
        last = summary.best_of_n.points[-1]
        tiles.append(
            Tile(f"{last.gain.value:+.2f}", f"best of {last.k}", f"{last.gain.low:+.2f} to {last.gain.high:+.2f}")
        )
    if summary.pairs is not None:
        tiles.append(Tile(f"{summary.pairs:,}", "preference pairs"))
    rate = summary.evaluation.win_rate if summary.evaluation else None
    if rate is not None:
        tiles.append(Tile(percent(rate.value), "win rate", f"{percent(rate.low)} to {percent(rate.high)}"))
    return tiles


def _about(recipe: dict[str, JsonValue] | None) -> dict[str, JsonValue]:
    """What stands beside the recipe in recipe.json: digest, versions and the like, one value a key."""
    return {} if recipe is None else _flatten({key: value for key, value in recipe.items() if key != "recipe"})


def _settings(recipe: dict[str, JsonValue] | None) -> dict[str, dict[str, JsonValue]]:
    """The resolved recipe by section, flattened to dotted keys, without secrets."""
    content = recipe.get("recipe", recipe) if recipe else None
    clean = redact(content)
    if not isinstance(clean, dict):
        return {}
    sections: dict[str, dict[str, JsonValue]] = {}
    for key, value in clean.items():
        if isinstance(value, dict):
            sections[key] = _flatten(value)
        else:
            sections.setdefault("general", {})[key] = value
    return sections


def _flatten(value: dict[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    flat: dict[str, JsonValue] = {}
    for key, item in value.items():
        if isinstance(item, dict) and item:
            flat |= _flatten(item, f"{prefix}{key}.")
        else:
            flat[prefix + key] = item
    return flat


def _pictures(summary: Summary) -> dict[str, Markup]:
    """The figures that this run has data for."""
    pictures: dict[str, Markup] = {}
    if summary.rewards and summary.rewards.values:
        pictures["rewards"] = figures.reward_histogram(summary.rewards.values)
    if summary.ratings and summary.ratings.values:
        pictures["ratings"] = figures.rating_bars(sorted(summary.ratings.values.items()))
    if summary.best_of_n and summary.best_of_n.points:
        pictures["best_of_n"] = figures.best_of_n(summary.best_of_n)
    if summary.evaluation and summary.evaluation.win_rate:
        rate = summary.evaluation.win_rate
        pictures["win_rate"] = figures.interval_bar(
            "win-rate", "Win rate with its interval", rate, 0.5, "no difference"
        )
    return pictures


@dataclass(frozen=True)
class FailureRow:
    """How often one reason made a judgment fail."""

    reason: str
    ratings: int
    comparisons: int
    share: float
    """Of all judgments asked for."""


def _failure_rows(summary: Summary) -> list[FailureRow]:
    ratings, comparisons = summary.ratings, summary.comparisons
    total = (ratings.total if ratings else 0) + (comparisons.total if comparisons else 0)
    reasons: Iterable[str] = {*(ratings.failures if ratings else ()), *(comparisons.failures if comparisons else ())}
    rows = []
    for reason in reasons:
        counts = (ratings.failures[reason] if ratings else 0, comparisons.failures[reason] if comparisons else 0)
        rows.append(FailureRow(reason, *counts, share=sum(counts) / max(total, 1)))
    return sorted(rows, key=lambda row: (-row.share, row.reason))
