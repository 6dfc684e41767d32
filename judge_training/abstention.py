"""What a judge buys by not deciding: coverage against accuracy, of the pairs where people name a winner.

Two ways to choose what to leave. *By consistency*: keep a pair when both orders name the same winner; that is
one point beside "keep all". *By margin*: keep the pairs where the probabilities of the two verdicts, averaged over the
orders, lie furthest apart; that is a curve. Pairs with the same margin are kept or left together, so that the curve
does not depend on the order of the file. Selective accuracy as in El-Yaniv and Wiener (2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rewards.intervals import Interval, wilson
from rewards.types import Record, VerdictProbabilities, Winner

COVERAGES = tuple(share / 20 for share in range(20, 0, -1))


class AbstentionPoint(Record):
    """What is kept at one threshold."""

    coverage: Interval
    accuracy: Interval
    threshold: float | None = None
    """Smallest margin kept; None for the points by consistency."""


class AbstentionCurve(Record):
    """Points from full coverage down."""

    by: Literal["consistency", "margin"]
    points: tuple[AbstentionPoint, ...]


class DecidedPair(Record):
    """A pair where people name a winner, and what the judge said."""

    label: Winner
    first_order: Winner | None
    verdict: Winner | None
    """Of all orders asked; None when it abstains."""
    probabilities: VerdictProbabilities | None


def abstention_curves(pairs: Sequence[DecidedPair]) -> tuple[AbstentionCurve, ...]:
    """The curves that these pairs allow: none without pairs, no margins without probabilities."""
    if not pairs:
        return ()
    curves = [AbstentionCurve(by="consistency", points=_by_consistency(pairs))]
    margins = _margins(pairs)
    if margins:
        curves.append(AbstentionCurve(by="margin", points=_by_margin(margins, len(pairs))))
    return tuple(curves)


def _by_consistency(pairs: Sequence[DecidedPair]) -> tuple[AbstentionPoint, ...]:
    kept = [one for one in pairs if one.verdict not in (None, "tie")]
    counts = [
        (sum(one.first_order == one.label for one in pairs), len(pairs)),
        (sum(one.verdict == one.label for one in kept), len(kept)),
    ]
    return tuple(_point(right, kept, len(pairs), None) for right, kept in counts if kept)


def _margins(pairs: Sequence[DecidedPair]) -> list[tuple[float, float]]:
    """Margin and how right the likelier verdict is (a tie of the two is half right), the widest first."""
    found = []
    for one in pairs:
        if one.probabilities is not None:
            lead = one.probabilities.first - one.probabilities.second
            right = 0.5 if lead == 0 else float((lead > 0) == (one.label == "first"))
            found.append((abs(lead), right))
    return sorted(found, reverse=True)


def _by_margin(margins: Sequence[tuple[float, float]], n: int) -> tuple[AbstentionPoint, ...]:
    points: dict[int, AbstentionPoint] = {}
    for share in COVERAGES:
        threshold = margins[max(1, round(share * len(margins))) - 1][0]
        kept = [right for margin, right in margins if margin >= threshold]
        points.setdefault(len(kept), _point(round(sum(kept)), len(kept), n, threshold))
    return tuple(points.values())


def _point(right: int, kept: int, n: int, threshold: float | None) -> AbstentionPoint:
    coverage, accuracy = wilson(kept, n), wilson(right, kept)
    if coverage is None or accuracy is None:
        raise ValueError("expected a point of some pairs, got none")  # callers keep at least one pair
    return AbstentionPoint(coverage=coverage, accuracy=accuracy, threshold=threshold)
