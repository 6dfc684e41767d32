"""The judges that a user has, side by side on Eval-P, with the published numbers beneath.

Published rows are the generative judges of the leaderboard in the README of AUTO-J's release (GAIR-NLP/auto-j) that
agree most, on all 1,392 pairs. Its reading of verdicts is a little different from that of table 1 of the paper (arXiv
2310.05470), which has 54.8 for AUTO-J. They were not measured here, have no interval, and are marked.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, JsonValue

from judge_training.eval_p import EvalP
from judge_training.evaluation_page import Sheet
from judge_training.tables import NOTHING, Table, percent, rounded_percent, share_cell
from rewards.judges.rivals.tie_threshold import TieThreshold
from rewards.types import Record

EVAL_P_PAIRS = 1392
MEASURED, PUBLISHED = "measured", "published"


class PublishedEvalP(Record):
    """A judge's numbers as the leaderboard of the release prints them, in percent."""

    name: str
    agreement: float
    consistency: float


PUBLISHED_EVAL_P = (
    PublishedEvalP(name="GPT-4", agreement=62.28, consistency=86.28),
    PublishedEvalP(name="AUTO-J", agreement=54.96, consistency=83.41),
    PublishedEvalP(name="LLaMA-2-70B-chat", agreement=46.12, consistency=69.90),
    PublishedEvalP(name="ChatGPT", agreement=42.74, consistency=62.43),
    PublishedEvalP(name="Claude-2", agreement=42.60, consistency=63.43),
)


class RivalsResult(Record):
    """Judges by name."""

    measured: dict[str, EvalP]
    failed: dict[str, str] = Field(default_factory=dict)
    """Judges that could not be asked, and why."""
    tie_thresholds: dict[str, TieThreshold] = Field(default_factory=dict)
    """Where a tie threshold was searched, on the labelled pairs that the judge's entry names."""


def rivals_sheet(result: RivalsResult) -> Sheet:
    """One table of all judges, the best agreement first, and the published rows among them."""
    notes = [
        "Percent, with 95% intervals. Agreement: the same verdict in both orders, and the human label. 1st order: the "
        "first order's verdict is the human label, of three. Consistency: the same verdict in both "
        f"orders. Published rows are the leaderboard's of AUTO-J's release, on all {EVAL_P_PAIRS:,} pairs; they were "
        "not measured here.",
    ]
    if any(one.n != EVAL_P_PAIRS for one in result.measured.values()):
        notes.append(
            "Some judges were asked about a part of Eval-P: their rows do not compare with the published ones."
        )
    notes += [f"{name} could not be asked: {why}" for name, why in result.failed.items()]
    head = ("judge", "", "pairs", "agreement", "consistency", "1st order", "not read")
    tables = [Table("Eval-P, judges side by side", head, _rows(result.measured))]
    if result.tie_thresholds:
        tables.append(_thresholds(result.tie_thresholds))
    return Sheet(
        title="Eval-P: rivals", headline=_headline(result), tiles=(), tables=tuple(tables), notes=tuple(notes)
    )


def _rows(measured: Mapping[str, EvalP]) -> tuple[tuple[str, ...], ...]:
    rows: list[tuple[float, tuple[str, ...]]] = [
        (
            0.0 if one.agreement is None else 100 * one.agreement.value,
            (
                name,
                MEASURED,
                f"{one.n:,}",
                share_cell(one.agreement),
                share_cell(one.consistency),
                percent(one.accuracy),
                str(one.unparsed),
            ),
        )
        for name, one in measured.items()
    ]
    rows += [
        (
            one.agreement,
            (
                one.name,
                PUBLISHED,
                f"{EVAL_P_PAIRS:,}",
                f"{one.agreement:.2f}",
                f"{one.consistency:.2f}",
                NOTHING,
                NOTHING,
            ),
        )
        for one in PUBLISHED_EVAL_P
    ]
    return tuple(row for _, row in sorted(rows, key=lambda one: -one[0]))


def _thresholds(found: Mapping[str, TieThreshold]) -> Table:
    rows = [(name, f"{one.threshold:.4g}", f"of {one.n:,} other pairs") for name, one in found.items()]
    return Table("Tie thresholds, searched on labelled pairs", ("judge", "threshold", "searched on"), tuple(rows))


def _headline(result: RivalsResult) -> dict[str, JsonValue]:
    measured: dict[str, JsonValue] = {
        name: {
            "pairs": one.n,
            "agreement": rounded_percent(one.agreement),
            "consistency": rounded_percent(one.consistency),
            "unparsed": one.unparsed,
        }
        for name, one in result.measured.items()
    }
    published: dict[str, JsonValue] = {
        one.name: {"pairs": EVAL_P_PAIRS, "agreement": one.agreement, "consistency": one.consistency}
        for one in PUBLISHED_EVAL_P
    }
    failed: dict[str, JsonValue] = dict(result.failed)
    return {MEASURED: measured, PUBLISHED: published, "failed": failed}
