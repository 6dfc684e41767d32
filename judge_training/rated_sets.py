"""Sets of responses with reference ratings: AUTO-J's Eval-R, and any table of rated candidates.

Eval-R as released (`testdata_selection.jsonl`: 116 prompts, 32 responses of each of two base models) holds AUTO-J's
ratings ("autoj") and no reference: the reference is a file of judgments, made by asking the reference judge once. Any
other table brings its reference as a column. Everything goes by id. Empty responses stay, since they were rated too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from judge_training.data.release import read_selection
from judge_training.rating_agreement import RatedResponse
from rewards.columns import ColumnMap
from rewards.errors import InputError
from rewards.inputs import read_candidates
from rewards.jsonl import read_records
from rewards.judges.base import RateItem
from rewards.types import Candidate, Judgment, Rating
from rewards.values import BadValue, number_value

SELECTION_FILE = "testdata_selection.jsonl"

Scores = Mapping[str, float | None]
"""Ratings by candidate id; None is a judgment that could not be read."""


@dataclass(frozen=True, slots=True)
class RatedSet:
    """Responses to rate, and what is known of them."""

    items: tuple[RateItem, ...]
    reference: dict[str, float]
    """Reference rating by candidate id."""
    given: dict[str, float | None]
    """A judge's ratings that the file holds, by candidate id."""
    parts: dict[str, str]
    """What the set is also measured by, by candidate id."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Rows that could not be used, by reason."""


def read_rated_set(
    path: Path, *, columns: ColumnMap | None = None, given: str | None = None, part: str | None = None
) -> RatedSet:
    """Read a set: the release's selection file by its name, anything else as a table of candidates.

    columns: names of the columns; the reference rating is its `reward`. given: a column with a judge's ratings (in
    the selection file: "autoj"). part: a column to measure by as well. Raises InputError as `read_candidates`
    does, and for a `given` or `part` that no row has.
    """
    if path.name == SELECTION_FILE:
        return _selection(path, given)
    read = read_candidates(path, columns=columns, keep_empty=True)
    ids = [row.candidate.id for row in read.records]
    for name in (given, part):
        if name is not None and all(name not in row.columns for row in read.records):
            known = ", ".join(sorted({name for row in read.records for name in row.columns})) or "none"
            raise InputError(f"{path}: expected a column {name!r}, got none; other columns: {known}")
    return RatedSet(
        items=tuple(row.item for row in read.records),
        reference={row.candidate.id: row.reward for row in read.records if row.reward is not None},
        given=_numbers(ids, [row.columns.get(given) for row in read.records], given, path) if given else {},
        parts={row.candidate.id: str(row.columns[part]) for row in read.records if part in row.columns}
        if part
        else {},
        skipped=read.skipped,
    )


def _selection(path: Path, given: str | None) -> RatedSet:
    read = read_selection(path.parent)
    if given not in (None, "autoj"):
        raise InputError(f"{path}: expected the ratings 'autoj', which it holds, got {given!r}")
    items = []
    for one in read.records:
        index = one.columns["index"]
        number = index if isinstance(index, int) else 0
        candidate = Candidate(id=one.id, prompt_id=one.prompt.id, text=one.responses[0], index=number)
        items.append(RateItem(prompt=one.prompt, candidate=candidate))
    ids = [one.id for one in read.records]
    return RatedSet(
        items=tuple(items),
        reference={},
        given=_numbers(ids, [one.columns["autoj"] for one in read.records], "autoj", path) if given else {},
        parts={one.id: str(one.columns["response_by"]) for one in read.records},
        skipped=read.skipped,
    )


def _numbers(ids: Sequence[str], values: Sequence[object], name: str, path: Path) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for identity, value in zip(ids, values, strict=True):
        try:
            found[identity] = number_value(value, name)
        except BadValue as bad:
            raise InputError(f"{path}: {identity!r}: {bad.detail}") from bad
    return found


def read_scores(path: Path) -> dict[str, float | None]:
    """Ratings from a file of judgments; verdicts on pairs are left out.

    Raises InputError when a response is judged twice or when there is no rating.
    """
    return scores_of(list(read_records(path, Judgment)), str(path))


def scores_of(judgments: Sequence[Judgment], where: str = "the judgments") -> dict[str, float | None]:
    """The (expected) rating of every response judged; None where it could not be read."""
    found: dict[str, float | None] = {}
    for judgment in judgments:
        if len(judgment.candidate_ids) != 1:
            continue
        candidate_id = judgment.candidate_ids[0]
        if candidate_id in found:
            raise InputError(f"{where}: expected one rating of a response, got a second one of {candidate_id!r}")
        found[candidate_id] = judgment.outcome.score if isinstance(judgment.outcome, Rating) else None
    if not found:
        raise InputError(f"{where}: expected ratings of responses, got none")
    return found


def rated_responses(
    rated: RatedSet, scores: Scores, reference: Mapping[str, float | None] | None = None
) -> tuple[list[RatedResponse], int]:
    """The responses with a reference and a judgment, and how many with a reference were not judged.

    `reference` takes the place of the set's own. Raises InputError when nothing has both.
    """
    known = rated.reference if reference is None else reference
    found = []
    unmatched = 0
    for item in rated.items:
        candidate = item.candidate
        gold = known.get(candidate.id)
        if gold is None:
            continue
        if candidate.id not in scores:
            unmatched += 1
            continue
        found.append(
            RatedResponse(
                id=candidate.id,
                prompt_id=candidate.prompt_id,
                reference=gold,
                judge=scores[candidate.id],
                characters=len(candidate.text),
                part=rated.parts.get(candidate.id),
            )
        )
    if not found:
        raise InputError(
            f"expected responses with a reference rating and a judgment, got {len(rated.items)} responses, "
            f"{sum(value is not None for value in known.values())} references and {len(scores)} judgments, "
            "and none in common; are the ids of one set?"
        )
    return found, unmatched
