"""When two scores are a tie: the threshold under which a scalar judge agrees best with labels.

Scores are never equal in practice while people call a quarter of pairs a tie, so a reward model that is to give
three verdicts needs a threshold, and it must come from labelled pairs other than those it is measured on.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewards.errors import InputError
from rewards.intervals import Interval, wilson
from rewards.types import Record, Winner


class TieThreshold(Record):
    """The best threshold on a labelled set."""

    threshold: float
    """Scores that differ by no more than this are a tie."""
    agreement: Interval
    """Share of verdicts equal to the label on the same set: too hopeful for any other."""
    n: int


def winner_of(difference: float, threshold: float) -> Winner:
    """The verdict of a difference of scores, first less second."""
    if abs(difference) <= threshold:
        return "tie"
    return "first" if difference > 0 else "second"


def search_tie_threshold(differences: Sequence[float], labels: Sequence[Winner]) -> TieThreshold:
    """The smallest threshold with the most verdicts equal to the labels; differences are first less second.

    Exact: verdicts change only where the threshold passes a difference, so 0 and every middle between two
    neighbouring differences are tried (and the largest, which ties all). Raises InputError without pairs.
    """
    if not differences or len(differences) != len(labels):
        raise InputError(f"expected as many differences as labels, got {len(differences)} and {len(labels)}")
    pairs = sorted((abs(difference), difference, label) for difference, label in zip(differences, labels, strict=True))
    right = sum(winner_of(difference, 0.0) == label for _, difference, label in pairs)
    best, threshold = right, 0.0
    for place, (size, difference, label) in enumerate(pairs):
        right += (label == "tie") - (winner_of(difference, 0.0) == label)
        following = pairs[place + 1][0] if place + 1 < len(pairs) else size
        if right > best and (following > size or place + 1 == len(pairs)):
            best, threshold = right, (size + following) / 2
    agreement = wilson(best, len(pairs))
    if agreement is None:
        raise InputError("expected labelled pairs to search a threshold on, got none")
    return TieThreshold(threshold=threshold, agreement=agreement, n=len(pairs))
