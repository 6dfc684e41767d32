"""Verdicts -> rewards: how two judgments become a comparison, and comparisons become numbers.

Design decisions. `resolve` is the one place where the judgments of the two orders meet: verdicts are swapped
by the type's own method and then compared, so that no other code flips a label. A comparison that abstains
gives no evidence, in no method here. Nothing is invented for a candidate that no verdict reaches: it is `Unscored`.

This module asks no judge, does no I/O and does not choose which pairs to compare (see `designs`).
"""

from __future__ import annotations

from rewards.errors import InputError
from rewards.types import Abstained, Comparison, Judgment, Rating, Verdict, VerdictProbabilities


def resolve(first_order: Judgment, second_order: Judgment | None) -> Comparison:
    """Make one comparison of a pair's judgment and of its judgment in the exchanged order, where that was asked.

    The result is in the order of `first_order`. With both orders, verdicts that agree after the swap are the
    verdict, verdicts that differ abstain with "orders_disagree", and a judgment that could not be read abstains
    with "unparsed". With one order its verdict stands. Probabilities are the mean over the orders that were asked,
    and are left out unless every order gave them.

    Raises InputError when a judgment is a rating, or when the two do not show the same pair in exchanged order.
    """
    first_id, second_id = _pair_of(first_order)
    judgments: tuple[Judgment, ...] = (first_order,)
    verdicts = [_verdict_of(first_order)]
    if second_order is not None:
        _check_exchanged(first_order, second_order)
        exchanged = _verdict_of(second_order)
        judgments = (first_order, second_order)
        verdicts.append(None if exchanged is None else exchanged.swap())
    probabilities = _mean_probabilities(verdicts)
    return Comparison(
        id=Judgment.verdict_id(first_id, second_id),
        prompt_id=first_order.prompt_id,
        first_id=first_id,
        second_id=second_id,
        outcome=_agreed(verdicts, probabilities),
        probabilities=probabilities,
        judgments=judgments,
    )


def _pair_of(judgment: Judgment) -> tuple[str, str]:
    if len(judgment.candidate_ids) != 2:
        raise InputError(
            f"expected a judgment of two candidates, got {judgment.id!r} of {len(judgment.candidate_ids)}; "
            "ratings become rewards in rewards.ratings"
        )
    first_id, second_id = judgment.candidate_ids
    if first_id == second_id:
        raise InputError(f"expected two different candidates, got {first_id!r} against itself in {judgment.id!r}")
    return first_id, second_id


def _check_exchanged(first_order: Judgment, second_order: Judgment) -> None:
    expected = tuple(reversed(first_order.candidate_ids))
    if second_order.prompt_id != first_order.prompt_id or second_order.candidate_ids != expected:
        raise InputError(
            f"expected the second judgment to show {expected!r} of prompt {first_order.prompt_id!r}, got "
            f"{second_order.candidate_ids!r} of prompt {second_order.prompt_id!r}; pass the judgment asked in the "
            "exchanged order, as it was asked"
        )


def _verdict_of(judgment: Judgment) -> Verdict | None:
    """The verdict in the order in which it was asked, or None when it could not be read."""
    if isinstance(judgment.outcome, Rating):
        raise InputError(f"expected a verdict, got a rating in judgment {judgment.id!r}")
    return judgment.outcome if isinstance(judgment.outcome, Verdict) else None


def _agreed(verdicts: list[Verdict | None], probabilities: VerdictProbabilities | None) -> Verdict | Abstained:
    read = [verdict for verdict in verdicts if verdict is not None]
    if len(read) < len(verdicts):
        return Abstained(reason="unparsed")
    if len({verdict.winner for verdict in read}) > 1:
        return Abstained(reason="orders_disagree")
    return Verdict(winner=read[0].winner, probabilities=probabilities)


def _mean_probabilities(verdicts: list[Verdict | None]) -> VerdictProbabilities | None:
    given = [
        verdict.probabilities for verdict in verdicts if verdict is not None and verdict.probabilities is not None
    ]
    if len(given) < len(verdicts):
        return None
    return VerdictProbabilities(
        first=sum(one.first for one in given) / len(given),
        second=sum(one.second for one in given) / len(given),
        tie=sum(one.tie for one in given) / len(given),
    )
