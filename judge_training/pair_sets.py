"""Sets of pairs with people's labels, in whatever columns: what a judge says of them.

A pair may be labelled by several people: each label is measured, and the bootstrap draws whole prompts, so that they
do not count as independent. Two responses with the same text are left out and counted, since a verdict on them says
nothing. How far people agree with each other, where a pair has two labels, is the ceiling beside the floors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from judge_training.agreement import JudgedPair, PairAgreement, pair_agreement
from judge_training.eval_p import longer_text, probabilities_in_order, verdicts_in_order
from rewards.columns import ColumnMap
from rewards.errors import InputError
from rewards.inputs import PairRow, read_pairs
from rewards.intervals import Interval, wilson
from rewards.judges.base import CompareItem
from rewards.types import Comparison, Record, Verdict, Winner

IDENTICAL = "identical_responses"


@dataclass(frozen=True, slots=True)
class PairSet:
    """Labelled pairs, and the rows that were left out by reason."""

    rows: tuple[PairRow, ...]
    skipped: dict[str, int]


class PairSetResult(Record):
    """A judge on a set of labelled pairs."""

    agreement: PairAgreement
    skipped: dict[str, int]
    """Rows left out, by reason."""
    people: Interval | None
    """How often two labels of the same pair are the same, where there are two."""


def read_pair_set(path: Path, *, columns: ColumnMap | None = None, limit: int | None = None) -> PairSet:
    """Read labelled pairs (`rewards.inputs.read_pairs`); `limit` keeps the pairs of the first prompts, up to as many.

    Raises InputError when no pair is left.
    """
    read = read_pairs(path, columns=columns)
    different = [row for row in read.records if row.first.text != row.second.text]
    skipped = dict(read.skipped)
    if len(different) < len(read.records):
        skipped[IDENTICAL] = skipped.get(IDENTICAL, 0) + len(read.records) - len(different)
    rows = tuple(different[:limit])
    if not rows:
        raise InputError(f"{path}: expected pairs of different responses, got none")
    return PairSet(rows, skipped)


def compare_items(pairs: PairSet) -> list[CompareItem]:
    """The questions to put to a judge, each pair once."""
    items: dict[frozenset[str], CompareItem] = {}
    for row in pairs.rows:
        items.setdefault(frozenset((row.first.id, row.second.id)), row.item)
    return list(items.values())


def judged_pairs(pairs: PairSet, comparisons: Iterable[Comparison]) -> tuple[list[JudgedPair], int]:
    """Every label with the judge's verdicts, and how many labelled pairs were not compared.

    Raises InputError when a pair was compared twice or when none was compared.
    """
    by_pair: dict[frozenset[str], Comparison] = {}
    for comparison in comparisons:
        key = frozenset((comparison.first_id, comparison.second_id))
        if key in by_pair:
            raise InputError(f"expected one comparison of a pair, got a second one in {comparison.id!r}")
        by_pair[key] = comparison
    found = [
        _judged(row, by_pair[key])
        for row in pairs.rows
        if (key := frozenset((row.first.id, row.second.id))) in by_pair
    ]
    if not found:
        raise InputError(
            f"expected comparisons of the {len(pairs.rows)} labelled pairs, got none; is it the same set?"
        )
    return found, len(pairs.rows) - len(found)


def _judged(row: PairRow, comparison: Comparison) -> JudgedPair:
    ids = (row.first.id, row.second.id)
    first_order, second_order = verdicts_in_order(comparison.judgments, ids)
    if row.label is None:
        raise InputError(f"expected a label of every pair, got none of {row.id!r}")
    return JudgedPair(
        id=row.id,
        prompt_id=row.prompt.id,
        label=row.label,
        first_order=first_order,
        second_order=second_order,
        asked_both=len(comparison.judgments) == 2,
        probabilities=probabilities_in_order(comparison, ids),
        longer=longer_text(row.first.text, row.second.text),
        scenario=row.prompt.scenario,
    )


def evaluate_pair_set(pairs: PairSet, comparisons: Iterable[Comparison]) -> PairSetResult:
    """Measure comparisons of a set's pairs."""
    judged, unmatched = judged_pairs(pairs, comparisons)
    return PairSetResult(
        agreement=pair_agreement(judged, unmatched=unmatched),
        skipped=pairs.skipped,
        people=people_agreement(pairs.rows),
    )


def people_agreement(rows: Sequence[PairRow]) -> Interval | None:
    """The share of pairs of labels of one pair of responses that are the same; None where no pair has two."""
    labels: dict[frozenset[str], list[Winner]] = {}
    for row in rows:
        if row.label is not None:
            key = frozenset((row.first.id, row.second.id))
            labels.setdefault(key, []).append(_in_sorted_order(row, row.label))
    twice = [a == b for given in labels.values() for a, b in combinations(given, 2)]
    return wilson(sum(twice), len(twice))


def _in_sorted_order(row: PairRow, label: Winner) -> Winner:
    """The label as if the two responses stood in the order of their ids."""
    return label if row.first.id <= row.second.id else Verdict(winner=label).swap().winner
