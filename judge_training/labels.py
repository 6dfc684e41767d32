"""Labels that a person adds to lines of a review file, as they come back.

A line is labelled by adding "label" to it: the winner ("first", "second", "tie") to a pair, which has "first_id"
and "second_id"; a number to a response, which has "candidate_id". Everything else on the line is left alone and
ignored. A line without a label (or null) was not labelled yet: it is counted, not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from judge_training.agreement import WINNERS
from judge_training.json_lines import read_objects
from rewards.errors import InputError
from rewards.types import Id, Record, Winner


class PairLabel(Record):
    """Which of two responses a person prefers."""

    first_id: Id
    second_id: Id
    label: Winner


class RatingLabel(Record):
    """A person's rating of a response, on the judge's scale."""

    candidate_id: Id
    label: float


class Labels(Record):
    """The labels of a file."""

    pairs: tuple[PairLabel, ...] = ()
    ratings: tuple[RatingLabel, ...] = ()
    unlabelled: int = 0
    """Lines without a label."""


def read_labels(path: Path) -> Labels:
    """Read a review file with labels.

    Raises MissingFileError, or InputError with the line for ids that are missing or of both kinds, for an unknown
    label and for a pair (in either order) or a candidate labelled twice; and when no line has a label.
    """
    pairs: dict[frozenset[str], PairLabel] = {}
    ratings: dict[str, RatingLabel] = {}
    unlabelled = 0
    for number, row in read_objects(path):
        where = f"{path}, line {number}"
        label = row.get("label")
        if label is None:
            unlabelled += 1
            continue
        ids = _ids(row, where)
        if len(ids) == 2:
            pair = PairLabel(first_id=ids[0], second_id=ids[1], label=_winner(label, where))
            _check_new(frozenset(ids) not in pairs, pair, where)
            pairs[frozenset(ids)] = pair
        else:
            rating = RatingLabel(candidate_id=ids[0], label=_number(label, where))
            _check_new(ids[0] not in ratings, rating, where)
            ratings[ids[0]] = rating
    if not pairs and not ratings:
        raise InputError(f'{path}: expected lines with a "label", got none on {unlabelled} lines; add labels first')
    return Labels(pairs=tuple(pairs.values()), ratings=tuple(ratings.values()), unlabelled=unlabelled)


def _ids(row: dict[str, JsonValue], where: str) -> Sequence[str]:
    """The candidate id, or the two ids of a pair."""
    names = [name for name in ("candidate_id", "first_id", "second_id") if name in row]
    ids = [one for one in (row[name] for name in names) if isinstance(one, str) and one]
    if names not in (["candidate_id"], ["first_id", "second_id"]) or len(ids) < len(names) or len(set(ids)) < len(ids):
        raise InputError(
            f"{where}: expected candidate_id for a rating, or first_id and second_id (different) for a pair, got "
            f"{', '.join(f'{name}={row[name]!r}' for name in names) or 'none of them'}"
        )
    return ids


def _winner(label: JsonValue, where: str) -> Winner:
    for winner in WINNERS:
        if label == winner:
            return winner
    raise InputError(f'{where}: expected the label of a pair as "first", "second" or "tie", got {label!r}')


def _number(label: JsonValue, where: str) -> float:
    if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
        raise InputError(f"{where}: expected the label of a response as a number, got {label!r}")
    return float(label)


def _check_new(new: bool, label: Record, where: str) -> None:
    if not new:
        raise InputError(f"{where}: expected every pair and every response labelled once, got {label!r} again")
