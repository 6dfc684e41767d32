"""A policy against a reference, compared by the judge on the same prompts.

Responses are matched by prompt id and index, never by the position in a list. The judge is asked in both orders
by default, and what it contradicts itself about is an abstention, which is left out of the win rate and counted.
Two responses that are the same text are a tie without asking: every order of them is the same question, and a
preference between them could only be position bias. The interval is over prompts, since the candidates of one
prompt are not independent.

Judging streams (`compare_policies`) and counting is separate (`summarise`), so that a run which was stopped counts
what it has in its file. How the responses are sampled is not decided here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from rewards.errors import InputError
from rewards.judges.base import CompareItem, Judge, JudgeCard, RateItem
from rewards.types import Abstained, Candidate, Comparison, Judgment, Prompt, Verdict, VerdictProbabilities
from rl.results import Estimate, Evaluation
from rl.statistics import bootstrap_ratio

SAME_TEXT = "same-text"
"""The `judge` of the judgment that stands in a comparison of two identical responses."""

Missing = Literal["raise", "skip"]
_Key = tuple[str, int]


def _by_key(candidates: Iterable[Candidate], side: str) -> dict[_Key, Candidate]:
    """Candidates by (prompt id, index)."""
    found: dict[_Key, Candidate] = {}
    for candidate in candidates:
        key = (candidate.prompt_id, candidate.index)
        if key in found:
            raise InputError(
                f"expected one response of the {side} for each prompt and index, got {found[key].id!r} and "
                f"{candidate.id!r} for prompt {candidate.prompt_id!r}, index {candidate.index}"
            )
        found[key] = candidate
    return found


def match(
    prompts: Sequence[Prompt],
    policy: Iterable[Candidate],
    reference: Iterable[Candidate],
    *,
    missing: Missing = "raise",
) -> tuple[list[CompareItem], set[str]]:
    """The responses to compare (policy first) and the ids of the prompts where one side has none.

    A response is matched with that of the other side to the same prompt with the same index. With
    `missing="raise"`, a response without its counterpart is an InputError; with "skip" it is left out.
    Responses to prompts that are not among `prompts` are not looked at.
    """
    ours, theirs = _by_key(policy, "policy"), _by_key(reference, "reference")
    by_id = {prompt.id: prompt for prompt in prompts}
    keys = [key for key in dict.fromkeys((*ours, *theirs)) if key[0] in by_id]
    lonely = [key for key in keys if key not in ours or key not in theirs]
    matched = [key for key in keys if key in ours and key in theirs]
    absent = set(by_id) - {prompt_id for prompt_id, _ in matched}
    if missing == "raise" and (lonely or absent):
        shown = ", ".join(sorted(absent | {prompt_id for prompt_id, _ in lonely})[:5])
        raise InputError(
            f"expected a response of the policy and one of the reference to each of the {len(by_id)} prompts, but "
            f"one is missing for {shown}; sample it, or leave such prompts out with missing='skip'"
        )
    for key in matched:
        if ours[key].id == theirs[key].id:
            raise InputError(
                f"expected the candidates of policy and reference to have ids of their own, got {ours[key].id!r} on "
                "both sides; a comparison could not say which of them won"
            )
    items = [CompareItem(prompt=by_id[key[0]], first=ours[key], second=theirs[key]) for key in matched]
    return items, absent


def _tie_without_asking(item: CompareItem) -> Comparison:
    name = Judgment.verdict_id(item.first.id, item.second.id)
    certain = VerdictProbabilities(first=0.0, second=0.0, tie=1.0)
    tie = Verdict(winner="tie", probabilities=certain)
    judgment = Judgment(
        id=name,
        prompt_id=item.prompt.id,
        candidate_ids=(item.first.id, item.second.id),
        outcome=tie,
        critique="Both responses are the same text; the judge was not asked.",
        judge=SAME_TEXT,
    )
    return Comparison(
        id=name,
        prompt_id=item.prompt.id,
        first_id=item.first.id,
        second_id=item.second.id,
        outcome=tie,
        probabilities=certain,
        judgments=(judgment,),
    )


class SameTextTies:
    """A judge that decides identical texts itself, as ties, and asks another judge about all the rest.

    Ties come first. Rating is the other judge's.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    @property
    def card(self) -> JudgeCard:
        """The other judge's card."""
        return self._judge.card

    def rate(self, items: Iterable[RateItem]) -> Iterator[Judgment]:
        """The other judge's ratings."""
        return self._judge.rate(items)

    def compare(self, items: Iterable[CompareItem], *, both_orders: bool = True) -> Iterator[Comparison]:
        """One comparison for every item."""
        asked: list[CompareItem] = []
        for item in items:
            if item.first.text == item.second.text:
                yield _tie_without_asking(item)
            else:
                asked.append(item)
        if asked:
            yield from self._judge.compare(asked, both_orders=both_orders)


def compare_policies(
    judge: Judge,
    prompts: Sequence[Prompt],
    policy: Iterable[Candidate],
    reference: Iterable[Candidate],
    *,
    both_orders: bool = True,
    missing: Missing = "raise",
) -> Iterator[Comparison]:
    """Compare the policy's responses (first) with the reference's (second), each result as soon as it is there.

    Raises InputError as `match` does. For a file that can be resumed, give `match`'s items and
    `SameTextTies(judge)` to `rewards.judging.compare_to_file`.
    """
    items, _ = match(prompts, policy, reference, missing=missing)
    return SameTextTies(judge).compare(items, both_orders=both_orders)


def evaluate_policy(
    judge: Judge,
    prompts: Sequence[Prompt],
    policy: Sequence[Candidate],
    reference: Sequence[Candidate],
    *,
    policy_name: str = "policy",
    reference_name: str = "reference",
    both_orders: bool = True,
    missing: Missing = "raise",
    resamples: int = 2000,
    seed: int = 0,
) -> Evaluation:
    """Compare and count in one call; see `compare_policies` and `summarise`."""
    comparisons = compare_policies(judge, prompts, policy, reference, both_orders=both_orders, missing=missing)
    return summarise(
        comparisons,
        prompts,
        policy,
        reference,
        policy_name=policy_name,
        reference_name=reference_name,
        resamples=resamples,
        seed=seed,
    )


def summarise(
    comparisons: Iterable[Comparison],
    prompts: Sequence[Prompt],
    policy: Sequence[Candidate],
    reference: Sequence[Candidate],
    *,
    policy_name: str = "policy",
    reference_name: str = "reference",
    resamples: int = 2000,
    seed: int = 0,
) -> Evaluation:
    """Count comparisons of a policy with a reference, named in either order.

    Lengths are means over the responses that were matched, whether or not the judge decided. Raises InputError
    for a comparison of other candidates than these, or a second one of the same two.
    """
    items, absent = match(prompts, policy, reference, missing="skip")
    pairs = {(item.first.id, item.second.id): item for item in items}
    counts: dict[str, int] = defaultdict(int)
    points: dict[str, list[float]] = defaultdict(list)
    soft: dict[str, list[float]] = defaultdict(list)
    told = 0  # comparisons whose probabilities come from the judge and not from equal texts
    seen: set[tuple[str, str]] = set()
    for given in comparisons:
        comparison = given if (given.first_id, given.second_id) in pairs else given.swap()
        pair = (comparison.first_id, comparison.second_id)
        if pair not in pairs or pair in seen:
            what = "a second comparison of the same two" if pair in seen else "one of other candidates"
            raise InputError(
                f"expected one comparison for each pair of policy and reference, got {what}: {given.id!r}"
            )
        seen.add(pair)
        if comparison.probabilities is not None:
            told += pairs[pair].first.text != pairs[pair].second.text
            soft[comparison.prompt_id].append(comparison.probabilities.first + comparison.probabilities.tie / 2)
        if isinstance(comparison.outcome, Abstained):
            counts["unparsed" if comparison.outcome.reason == "unparsed" else "abstained"] += 1
            continue
        counts[comparison.outcome.winner] += 1
        counts["identical"] += pairs[pair].first.text == pairs[pair].second.text
        points[comparison.prompt_id].append({"first": 1.0, "tie": 0.5, "second": 0.0}[comparison.outcome.winner])
    ours, theirs = [item.first for item in items], [item.second for item in items]
    return Evaluation(
        policy=policy_name,
        reference=reference_name,
        wins=counts["first"],
        losses=counts["second"],
        ties=counts["tie"],
        abstained=counts["abstained"],
        unparsed=counts["unparsed"],
        identical=counts["identical"],
        missing=len(absent),
        win_rate=_win_rate(list(points.values()), resamples=resamples, seed=seed),
        soft_win_rate=_win_rate(list(soft.values()), resamples=resamples, seed=seed) if told else None,
        policy_tokens=_mean_tokens(ours),
        reference_tokens=_mean_tokens(theirs),
        policy_characters=_mean([len(candidate.text) for candidate in ours]),
        reference_characters=_mean([len(candidate.text) for candidate in theirs]),
    )


def _win_rate(points: Sequence[Sequence[float]], *, resamples: int, seed: int) -> Estimate | None:
    """Points over decided comparisons; `points` holds those of each prompt with a decision."""
    if not points:
        return None
    sums = np.array([sum(of_prompt) for of_prompt in points])
    sizes = np.array([float(len(of_prompt)) for of_prompt in points])
    return bootstrap_ratio(sums, sizes, resamples=resamples, seed=seed)


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _mean_tokens(candidates: Sequence[Candidate]) -> float | None:
    """Mean token count, None unless every response has one."""
    known = [candidate.token_count for candidate in candidates if candidate.token_count is not None]
    return _mean(known) if known and len(known) == len(candidates) else None
