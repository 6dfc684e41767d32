"""A comparison made of two ratings, for a judge that rates better than it compares.

The two ratings are taken as independent draws from the judge's distributions: a response wins with the probability
that its rating is the higher one, and the verdict is the most probable of first, second and tie. Ratings without a
distribution decide by their values. The order in which the responses are named cannot matter, so both orders say the
same by construction and agreement of orders says nothing about such a judge; the two judgments of a comparison are one
another's mirror. A response that could not be rated leaves the comparison without a verdict, for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import fsum

from rewards.judges.base import CompareItem, RateItem
from rewards.types import Judgment, Rating, Unparsed, Verdict, VerdictProbabilities, Winner


def sides(items: Iterable[CompareItem]) -> list[RateItem]:
    """Every response of the comparisons once."""
    found = {
        (item.prompt.id, one.id): RateItem(prompt=item.prompt, candidate=one)
        for item in items
        for one in (item.first, item.second)
    }
    return list(found.values())


def verdicts(items: Iterable[CompareItem], ratings: Iterable[Judgment], judge: str) -> Iterator[tuple[int, Judgment]]:
    """The judgment of each item, with its position, as soon as both of its responses are rated. judge: its digest."""
    waiting = list(enumerate(items))
    rated: dict[tuple[str, str], Judgment] = {}
    for one in ratings:
        rated[one.prompt_id, one.candidate_ids[0]] = one
        left = []
        for position, item in waiting:
            both = [rated.get((item.prompt.id, side.id)) for side in (item.first, item.second)]
            if both[0] is None or both[1] is None:
                left.append((position, item))
            else:
                yield position, _judgment(item, both[0], both[1], judge)
        waiting = left


def _judgment(item: CompareItem, first: Judgment, second: Judgment, judge: str) -> Judgment:
    masses = [one.mass for one in (first, second) if one.mass is not None]
    return Judgment(
        id=Judgment.verdict_id(item.first.id, item.second.id),
        prompt_id=item.prompt.id,
        candidate_ids=(item.first.id, item.second.id),
        outcome=_outcome(first, second),
        critique="\n\n".join(one.critique for one in (first, second) if one.critique),
        judge=judge,
        mass=min(masses) if masses else None,
    )


def _outcome(first: Judgment, second: Judgment) -> Verdict | Unparsed:
    one, other = first.outcome, second.outcome
    for side, outcome in (("first", one), ("second", other)):
        if isinstance(outcome, Unparsed):
            return outcome.model_copy(update={"detail": f"the {side} response was not rated: {outcome.detail}"})
    if not isinstance(one, Rating) or not isinstance(other, Rating):
        raise TypeError(f"expected two ratings to compare, got {one.kind} and {other.kind}")
    if one.probabilities is None or other.probabilities is None:
        return Verdict(winner=_higher(one.score, other.score))
    return _of_distributions(one.probabilities, other.probabilities)


def _of_distributions(one: dict[str, float], other: dict[str, float]) -> Verdict:
    products: dict[Winner, list[float]] = {"first": [], "second": [], "tie": []}
    for rating, probability in one.items():
        for against, its_probability in other.items():
            products[_higher(float(rating), float(against))].append(probability * its_probability)
    # Exact sums, since those of floats depend on their order and would prefer a side in a near tie.
    first, second, tie = (fsum(products[name]) for name in ("first", "second", "tie"))
    total = fsum((first, second, tie))
    return Verdict(
        winner="tie" if tie >= max(first, second) else _higher(first, second),
        probabilities=VerdictProbabilities(first=first / total, second=second / total, tie=tie / total),
    )


def _higher(one: float, other: float) -> Winner:
    return "tie" if one == other else "first" if one > other else "second"
