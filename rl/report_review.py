"""What a person should look at, as the report shows it.

The rows of review.jsonl are read as plain JSON, whatever keys they have besides a reason and the ids, so that a new
reason or detail needs no change here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import JsonValue

from rl.report_browser import first_text, objects
from rl.run_folder import RunFolder

REVIEW = 60
"""Rows that are shown, at most a quarter of them for one reason."""


@dataclass(frozen=True)
class ReviewRow:
    """Something that a person should look at."""

    reason: str
    prompt_id: str | None
    candidate_ids: tuple[str, ...]
    detail: str
    shown: bool
    """Whether its prompt is on the page."""


@dataclass(frozen=True)
class Review:
    """review.jsonl: counts by reason, and the first rows of each."""

    counts: dict[str, int]
    rows: list[ReviewRow]


def read_review(run: RunFolder, shown: set[str], limit: int = REVIEW) -> Review | None:
    """The review file, whatever further keys its rows have; None without one."""
    if not run.review.is_file():
        return None
    counts: dict[str, int] = {}
    rows: list[ReviewRow] = []
    for row in objects(run.review):
        reason = first_text(row, "reason", "kind") or "other"
        counts[reason] = counts.get(reason, 0) + 1
        if counts[reason] <= limit // 4:
            rows.append(_review_row(row, reason, shown))
    return Review(dict(sorted(counts.items())), sorted(rows, key=lambda row: row.reason))


_IDS = frozenset({"reason", "kind", "prompt_id", "candidate_id", "candidate_ids", "first_id", "second_id", "id"})
_LONG = frozenset({"messages", "critiques", "judgment_ids"})
"""Shown with the prompt, not in the table."""


def _review_row(row: dict[str, JsonValue], reason: str, shown: set[str]) -> ReviewRow:
    several = row.get("candidate_ids")
    ids = (
        several if isinstance(several, list) else [row.get("candidate_id"), row.get("first_id"), row.get("second_id")]
    )
    prompt_id = first_text(row, "prompt_id")
    parts = [_part(key, value) for key, value in row.items() if key not in _IDS | _LONG and value not in (None, "")]
    return ReviewRow(
        reason=reason,
        prompt_id=prompt_id,
        candidate_ids=tuple(str(name) for name in ids if name),
        detail=" · ".join(parts)[:800],
        shown=prompt_id in shown,
    )


def _part(key: str, value: JsonValue) -> str:
    return _brief(value) if key == "detail" else f"{key.replace('_', ' ')}: {_brief(value)}"


def _brief(value: JsonValue) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else text[:160] + " …"
