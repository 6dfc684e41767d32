"""Verdicts -> rewards: how two judgments become a comparison, and comparisons become numbers.

Design decisions. `resolve` is the one place where the judgments of the two orders meet: verdicts are swapped
by the type's own method and then compared, so that no other code flips a label. A comparison that abstains
gives no evidence, in no method here. Nothing is invented for a candidate that no verdict reaches: it is `Unscored`.

Responses with the same text are one response with one reward.

This module asks no judge, does no I/O and does not choose which pairs to compare (see `designs`). The model behind
the strengths is in `bradley_terry`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Literal

from rewards.comparison_graph import Graph, comparison_graph, components
from rewards.errors import DisconnectedComparisonsError, InputError
from rewards.intervals import Interval, wilson
from rewards.ratings import rating_level
from rewards.types import (
    Abstained,
    Candidate,
    Comparison,
    Judgment,
    Rating,
    Record,
    Reward,
    Unscored,
    Verdict,
    VerdictProbabilities,
)

NOT_COMPARED = "not_compared"
ALL_ABSTAINED = "all_abstained"
DISCONNECTED = "disconnected_comparisons"
DEFAULT_PRIOR = 1.0
"""Standard deviation of the prior on log-strengths, in nats."""


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


def win_rates(
    comparisons: Iterable[Comparison], candidates: Sequence[Candidate], *, soft: bool = False
) -> list[Reward | Unscored]:
    """Wins and half the ties, over the decided comparisons of each candidate: from 0 to 1.

    One `Reward` (part "win_rate") or `Unscored` ("not_compared", "all_abstained") for every candidate, of any number
    of prompts, sorted by prompt and candidate id. `soft` counts the verdicts' probabilities, not the verdicts.

    Raises InputError for a comparison given twice, of unknown candidates, or (soft) without probabilities.
    """
    scored: list[Reward | Unscored] = []
    for node in comparison_graph(comparisons, candidates, soft=soft).nodes.values():
        if node.decided:
            scored.extend(node.rewarded("win_rate", node.wins / node.decided))
        else:
            scored.extend(node.unscored(ALL_ABSTAINED if node.abstained else NOT_COMPARED))
    return _sorted(scored)


class BradleyTerryFit(Record):
    """Strengths as rewards, and how easily this prompt's comparisons tie."""

    scored: tuple[Reward | Unscored, ...]
    tie: float
    """Davidson's tie parameter: equally strong responses tie with probability tie / (2 + tie)."""


def fit_bradley_terry(
    comparisons: Iterable[Comparison],
    candidates: Sequence[Candidate],
    *,
    prior: float = DEFAULT_PRIOR,
    tie: float | None = None,
    soft: bool = False,
) -> BradleyTerryFit:
    """Log-strengths, in nats, of the candidates of one prompt: the Bradley-Terry model with ties (Davidson 1970).

    Works on any connected graph of decided comparisons, by maximum a posteriori: `prior` is the standard deviation of
    a Gaussian prior on the log-strengths, which sum to zero over distinct responses. Reward variances are those of
    the posterior (Laplace). `tie` fixes the tie parameter (0: no ties, Bradley and Terry 1952); None fits it under a
    weak prior. `soft` weights the outcomes by the verdicts' probabilities. A prompt with one distinct response
    has nothing to compare and is `Unscored`.

    Raises DisconnectedComparisonsError when the decided comparisons do not connect all candidates, and InputError
    for candidates of several prompts, for bad comparisons as in `win_rates`, or a tie with `tie=0`.
    """
    if not 0 < prior < float("inf"):
        raise InputError(f"expected prior as a finite standard deviation > 0, got {prior}")
    if tie is not None and not 0 <= tie < float("inf"):
        raise InputError(f"expected tie >= 0 and finite, or None to fit it, got {tie}")
    if len({one.prompt_id for one in candidates}) > 1:
        raise InputError("expected the candidates of one prompt, got several; rewards_from_comparisons takes many")
    graph = comparison_graph(comparisons, candidates, soft=soft)
    if len(graph.nodes) < 2:
        alone = [node.unscored(NOT_COMPARED) for node in graph.nodes.values()]
        return BradleyTerryFit(scored=tuple(_sorted(chain.from_iterable(alone))), tie=tie or 0.0)
    parts = components(graph)
    if len(parts) > 1:
        raise DisconnectedComparisonsError(parts)
    if tie == 0 and any(edge.weights[2] > 0 for edge in graph.edges):
        raise InputError("expected no ties with tie=0, got some; leave tie out to fit it")
    return _fit(graph, prior=prior, tie=tie)


def rewards_from_comparisons(
    comparisons: Iterable[Comparison],
    candidates: Sequence[Candidate],
    *,
    method: Literal["win_rate", "bradley_terry"],
    soft: bool = False,
    prior: float = DEFAULT_PRIOR,
) -> list[Reward | Unscored]:
    """Rewards of the candidates of many prompts, sorted by prompt and candidate id.

    With "bradley_terry", all candidates of a prompt whose decided comparisons do not connect them are `Unscored`
    with "disconnected_comparisons", since their strengths share no scale. Errors as in `win_rates`.
    """
    if method == "win_rate":
        return win_rates(comparisons, candidates, soft=soft)
    compared: dict[str, list[Comparison]] = defaultdict(list)
    for comparison in comparisons:
        compared[comparison.prompt_id].append(comparison)
    prompts: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        prompts[candidate.prompt_id].append(candidate)
    unknown = sorted(compared.keys() - prompts.keys())
    if unknown:
        raise InputError(f"expected candidates for every comparison, got none for prompt {unknown[0]!r}")
    scored: list[Reward | Unscored] = []
    for prompt_id, group in prompts.items():
        try:
            scored.extend(fit_bradley_terry(compared[prompt_id], group, prior=prior, soft=soft).scored)
        except DisconnectedComparisonsError:
            graph = comparison_graph(compared[prompt_id], group, soft=soft)
            scored.extend(chain.from_iterable(node.unscored(DISCONNECTED) for node in graph.nodes.values()))
    return _sorted(scored)


def break_ties(
    scored: Iterable[Reward | Unscored],
    comparisons: Iterable[Comparison],
    candidates: Sequence[Candidate],
    *,
    width: float,
) -> list[Reward | Unscored]:
    """Order candidates whose ratings tie by their comparisons with each other (the pair design "ties").

    Adds a part "tie_break" from -width / 2 to width / 2: width times the win rate among the tied, less a half.
    Without expected ratings, a width below the distance of two ratings never changes the order of different
    ratings. Comparisons across ratings, and candidates without a decided comparison, are left alone.
    """
    if not width > 0:
        raise InputError(f"expected width > 0, got {width}")
    scored = list(scored)
    levels = {one.candidate_id: rating_level(one) for one in scored if isinstance(one, Reward)}
    tied = [one for one in comparisons if one.first_id in levels and levels[one.first_id] == levels.get(one.second_id)]
    rates = {one.candidate_id: one for one in win_rates(tied, candidates) if isinstance(one, Reward)}
    return _sorted(_with_tie_break(one, rates.get(one.candidate_id), width) for one in scored)


def _with_tie_break(one: Reward | Unscored, rate: Reward | None, width: float) -> Reward | Unscored:
    if isinstance(one, Unscored) or rate is None:
        return one
    parts = {**one.parts, "tie_break": width * (rate.value - 0.5)}
    judgment_ids = (*one.judgment_ids, *rate.judgment_ids)
    return one.model_copy(update={"value": sum(parts.values()), "parts": parts, "judgment_ids": judgment_ids})


class OrderAgreement(Record):
    """How far the judge's verdicts depend on which response it saw first."""

    asked_both: int
    """Comparisons asked in both orders; the counts below are of these."""
    agreed: int
    disagreed: int
    unparsed: int
    """One of the two judgments, or both, could not be read."""
    agreement: Interval | None
    """agreed / (agreed + disagreed), Wilson."""
    first_both_times: int
    """Whatever stood first won, in both orders."""
    second_both_times: int
    first_preference: Interval | None
    """first_both_times / (first_both_times + second_both_times), Wilson: 0.5 without position bias."""
    asked_once: int


def order_agreement(comparisons: Iterable[Comparison]) -> OrderAgreement:
    """Count, from the judgments as they were asked, how often the two orders agree, and where they do not, how."""
    counts: Counter[str] = Counter()
    for comparison in comparisons:
        if len(comparison.judgments) == 1:
            counts["once"] += 1
            continue
        first, second = (_verdict_of(judgment) for judgment in comparison.judgments)
        if first is None or second is None:
            counts["unparsed"] += 1
        elif first.winner == second.swap().winner:
            counts["agreed"] += 1
        else:
            counts["disagreed"] += 1
            if first.winner == second.winner:
                counts[f"{first.winner} both times"] += 1
    agreed, disagreed, unparsed = counts["agreed"], counts["disagreed"], counts["unparsed"]
    first_both, second_both = counts["first both times"], counts["second both times"]
    return OrderAgreement(
        asked_both=agreed + disagreed + unparsed,
        agreed=agreed,
        disagreed=disagreed,
        unparsed=unparsed,
        agreement=wilson(agreed, agreed + disagreed),
        first_both_times=first_both,
        second_both_times=second_both,
        first_preference=wilson(first_both, first_both + second_both),
        asked_once=counts["once"],
    )


def _sorted(scored: Iterable[Reward | Unscored]) -> list[Reward | Unscored]:
    return sorted(scored, key=lambda one: (one.prompt_id, one.candidate_id))


def _fit(graph: Graph, *, prior: float, tie: float | None) -> BradleyTerryFit:
    import numpy as np

    from rewards.bradley_terry import Outcomes, fit_davidson

    position = {key: index for index, key in enumerate(graph.nodes)}
    outcomes = Outcomes(
        first=np.array([position[edge.first] for edge in graph.edges], dtype=np.intp),
        second=np.array([position[edge.second] for edge in graph.edges], dtype=np.intp),
        weights=np.array([edge.weights for edge in graph.edges], dtype=np.float64),
    )
    fit = fit_davidson(len(graph.nodes), outcomes, prior=prior, tie=tie)
    scored: list[Reward | Unscored] = []
    for node, strength, variance in zip(graph.nodes.values(), fit.strengths, fit.variances, strict=True):
        # Responses that did equally well differ by rounding errors only, and must tie for whoever selects among them.
        value = round(float(strength), 9) + 0.0
        scored.extend(node.rewarded("strength", value, float(variance)))
    return BradleyTerryFit(scored=tuple(_sorted(scored)), tie=fit.tie)
