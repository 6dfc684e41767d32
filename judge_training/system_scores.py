"""Scores of systems, from tables or from a judge's ratings, and leaderboards.

Everything goes by the system's name and the prompt's id; a row that cannot be used is counted.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rewards.columns import ColumnMap
from rewards.errors import InputError, MissingFileError
from rewards.inputs import read_prompts
from rewards.judges.base import RateItem
from rewards.rows import Problem, Row, stream_rows
from rewards.types import Candidate
from rewards.values import BadValue, id_value, number_value, text_value


@dataclass(frozen=True, slots=True)
class SystemScore:
    """A judge's score of one system's response to one prompt."""

    system: str
    prompt_id: str
    score: float


def read_leaderboard(path: Path, *, score: str, system: str | None = None) -> dict[str, float]:
    """A leaderboard from a CSV file: the column `score` by the system's name, which stands in the first column or in
    `system`. Rows without a number are left out.

    Raises MissingFileError, or InputError for a column that is not there, a system named twice, or no numbers at all.
    """
    if not path.is_file():
        raise MissingFileError(f"expected a leaderboard at {path}, found none")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
        names = list(rows[0]) if rows else []
    key = names[0] if system is None and names else system
    for name in (key, score):
        if name not in names:
            raise InputError(
                f"{path}: expected a column {name!r}, got columns {', '.join(map(repr, names)) or 'none'}"
            )
    found: dict[str, float] = {}
    for row in rows:
        try:
            number = number_value(row[score], score)
        except BadValue:
            number = None
        if number is not None:
            if row[str(key)] in found:
                raise InputError(f"{path}: expected every system once, got {row[str(key)]!r} again")
            found[row[str(key)]] = number
    if not found:
        raise InputError(f"{path}: expected numbers in {score!r}, got none")
    return found


def read_system_scores(
    path: Path,
    *,
    system: str = "model",
    prompt: str = "prompt_id",
    score: str = "preference",
    values: Mapping[str, float] | None = None,
) -> tuple[list[SystemScore], dict[str, int]]:
    """Scores from a table by its columns' names, and the rows left out by reason.

    values: what a value of the score stands for (AlpacaEval's 0 is a draw, 1.5). Raises InputError when a column is in
    no row or when nothing can be used.
    """

    def number(row: Row) -> float:
        value = number_value(row.get(score), score)
        if value is None:
            raise BadValue("no_score", f"expected a number in {score!r}, got none")
        return (values or {}).get(f"{value:g}", value)

    return _read(path, system, prompt, score, number)


def read_lengths(
    path: Path, *, system: str = "model", prompt: str = "prompt_id", output: str = "output"
) -> tuple[list[SystemScore], dict[str, int]]:
    """The length in characters of every response in a table, as its score; otherwise as `read_system_scores`."""
    return _read(path, system, prompt, output, lambda row: float(len(text_value(row.get(output), output))))


def scores_of_candidates(candidates: Iterable[Candidate], ratings: Mapping[str, float | None]) -> list[SystemScore]:
    """A judge's rating of every candidate that it could read, under the system that wrote it.

    Raises InputError for a rated candidate that does not say who wrote it.
    """
    found = []
    for candidate in candidates:
        rating = ratings.get(candidate.id)
        if rating is None:
            continue
        if candidate.source is None:
            raise InputError(f"expected the system that wrote each response, got none for {candidate.id!r}")
        found.append(SystemScore(candidate.source, candidate.prompt_id, rating))
    return found


def lengths_of_candidates(candidates: Iterable[Candidate], ratings: Mapping[str, float | None]) -> list[SystemScore]:
    """The length of every candidate that `scores_of_candidates` takes."""
    kept = [one for one in candidates if ratings.get(one.id) is not None]
    return scores_of_candidates(kept, {one.id: float(len(one.text)) for one in kept})


def read_outputs(
    outputs: Path,
    prompts: Path,
    *,
    system: str = "model",
    prompt: str = "prompt_id",
    output: str = "output",
    text: str = "instruction",
    limit: int | None = None,
) -> tuple[list[RateItem], dict[str, int]]:
    """Every system's response to every prompt as a question to a judge, and the rows left out by reason.

    Two tables joined by the prompt's id; `limit` keeps the first prompts. Raises InputError as the readers of prompts
    do, and when no response belongs to a prompt.
    """
    read = read_prompts(prompts, columns=ColumnMap(prompt=text, id=prompt))
    known = {one.id: one for one in read.records[:limit]}
    items: dict[str, RateItem] = {}
    skipped: dict[str, int] = {}
    for _, row in stream_rows(outputs):
        try:
            if isinstance(row, Problem):
                raise BadValue(row.reason, row.detail)
            asked = known.get(id_value(row.get(prompt), prompt))
            if asked is None:
                continue
            name, answer = id_value(row.get(system), system), text_value(row.get(output), output)
            candidate = Candidate(id=f"{asked.id}/{name}", prompt_id=asked.id, text=answer, source=name)
            if candidate.id in items:
                raise BadValue("repeated", f"expected one response of {name!r} to {asked.id!r}, got a second one")
            items[candidate.id] = RateItem(prompt=asked, candidate=candidate)
        except BadValue as bad:
            skipped[bad.reason] = skipped.get(bad.reason, 0) + 1
    if not items:
        raise InputError(
            f"expected responses in {outputs} to the prompts in {prompts}, got none; are the ids the same?"
        )
    return list(items.values()), skipped


def _read(
    path: Path, system: str, prompt: str, value: str, number: Callable[[Row], float]
) -> tuple[list[SystemScore], dict[str, int]]:
    found: list[SystemScore] = []
    skipped: dict[str, int] = {}
    seen: set[str] = set()
    for _, row in stream_rows(path):
        if isinstance(row, Problem):
            skipped[row.reason] = skipped.get(row.reason, 0) + 1
            continue
        seen |= row.keys()
        try:
            names = id_value(row.get(system), system), id_value(row.get(prompt), prompt)
            found.append(SystemScore(*names, number(row)))
        except BadValue as bad:
            skipped[bad.reason] = skipped.get(bad.reason, 0) + 1
    if not found:
        problems = ", ".join(f"{reason} {count}" for reason, count in skipped.items())
        raise InputError(
            f"{path}: expected rows with {system!r}, {prompt!r} and {value!r}, got none ({problems}); columns: "
            f"{', '.join(sorted(seen)) or 'none'}"
        )
    return found, skipped
