"""A policy against a reference: matching by id, both orders, ties without a call, and what is counted."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest

from rewards.errors import InputError
from rewards.judges.base import CompareItem, JudgeCard, RateItem
from rewards.types import (
    Candidate,
    Comparison,
    Judgment,
    Message,
    Prompt,
    Unparsed,
    Verdict,
    VerdictProbabilities,
    Winner,
)
from rewards.verdicts import resolve
from rl.evaluate import SAME_TEXT, compare_policies, evaluate_policy, summarise


class LengthJudge:
    """Prefers the longer text; says nothing readable about texts with "?", and the first of texts with "!"."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    @property
    def card(self) -> JudgeCard:
        return JudgeCard(name="length", digest="0", backend="test", mode="direct", protocol="test", trained=False)

    def rate(self, items: Iterable[RateItem]) -> Iterator[Judgment]:
        raise NotImplementedError

    def _ask(self, item: CompareItem) -> Judgment:
        first, second = item.first.text, item.second.text
        self.asked.append((first, second))
        outcome: Verdict | Unparsed
        if "?" in first + second:
            outcome = Unparsed(reason="no_verdict")
        elif "!" in first + second:
            outcome = Verdict(winner="first")
        else:
            sign = (len(first) > len(second)) - (len(first) < len(second))
            winner: Winner = ("tie", "first", "second")[sign]
            outcome = Verdict(winner=winner)
        return Judgment(
            id=Judgment.verdict_id(item.first.id, item.second.id),
            prompt_id=item.prompt.id,
            candidate_ids=(item.first.id, item.second.id),
            outcome=outcome,
        )

    def compare(self, items: Iterable[CompareItem], *, both_orders: bool = True) -> Iterator[Comparison]:
        for item in reversed(list(items)):  # results may come in any order
            yield resolve(self._ask(item), self._ask(item.swap()) if both_orders else None)


def prompt(name: str) -> Prompt:
    return Prompt(id=name, messages=(Message(role="user", content=name),))


def side(name: str, texts: dict[str, str], *, index: int = 0) -> list[Candidate]:
    return [
        Candidate(id=f"{name}:{key}/{index}", prompt_id=key, text=text, index=index, token_count=len(text))
        for key, text in texts.items()
    ]


PROMPTS = [prompt(name) for name in "abcdef"]
POLICY = {"a": "long", "b": "s", "c": "same", "d": "!!", "e": "?", "f": "xx"}
REFERENCE = {"a": "s", "b": "long", "c": "same", "d": "!", "e": "what", "f": "yy"}


def test_wins_losses_ties_abstentions_and_failures_are_counted_apart() -> None:
    judge = LengthJudge()
    found = evaluate_policy(judge, PROMPTS, side("new", POLICY), side("old", REFERENCE), policy_name="dpo")
    assert (found.wins, found.losses, found.ties, found.abstained, found.unparsed) == (1, 1, 2, 1, 1)
    assert (found.identical, found.missing) == (1, 0)
    assert found.win_rate is not None
    assert found.win_rate.value == pytest.approx(0.5)
    assert found.win_rate.n == 4
    assert (found.policy, found.reference) == ("dpo", "reference")
    assert found.policy_characters == pytest.approx(14 / 6)
    assert found.policy_tokens == pytest.approx(14 / 6)


def test_identical_texts_are_a_tie_without_a_call() -> None:
    judge = LengthJudge()
    comparisons = list(compare_policies(judge, PROMPTS, side("new", POLICY), side("old", REFERENCE)))
    assert ("same", "same") not in judge.asked
    assert len(judge.asked) == 2 * 5  # the other five, in both orders
    (tie,) = [comparison for comparison in comparisons if comparison.prompt_id == "c"]
    assert isinstance(tie.outcome, Verdict)
    assert tie.outcome.winner == "tie"
    assert [judgment.judge for judgment in tie.judgments] == [SAME_TEXT]
    assert Comparison.model_validate_json(tie.to_json()) == tie


def test_one_order_asks_once() -> None:
    judge = LengthJudge()
    found = evaluate_policy(judge, PROMPTS, side("new", POLICY), side("old", REFERENCE), both_orders=False)
    assert len(judge.asked) == 5
    assert (found.wins, found.abstained) == (2, 0)  # the position bias on "!" now counts as a win


def test_mistake_07_responses_are_matched_by_prompt_and_never_by_position() -> None:
    policy, reference = side("new", POLICY), side("old", REFERENCE)
    expected = evaluate_policy(LengthJudge(), PROMPTS, policy, reference)
    for seed in range(5):
        shuffled = [list(policy), list(reference), list(PROMPTS)]
        for rows in shuffled:
            random.Random(seed).shuffle(rows)
        judge = LengthJudge()
        found = evaluate_policy(judge, shuffled[2], shuffled[0], shuffled[1])
        assert found.model_dump(exclude={"win_rate"}) == expected.model_dump(exclude={"win_rate"})
        assert set(judge.asked) <= {(POLICY[k], REFERENCE[k]) for k in POLICY} | {
            (REFERENCE[k], POLICY[k]) for k in POLICY
        }


def test_several_candidates_of_a_prompt_are_matched_by_index_and_counted_as_one_prompt() -> None:
    policy = side("new", {"a": "xxx"}, index=1) + side("new", {"a": "x"})
    reference = side("old", {"a": "xx"}) + side("old", {"a": "xx"}, index=1)
    found = evaluate_policy(LengthJudge(), [prompt("a")], policy, reference)
    assert (found.wins, found.losses) == (1, 1)
    assert found.win_rate is not None
    assert found.win_rate.n == 1


def test_a_prompt_missing_on_a_side_is_an_error_or_counted() -> None:
    policy, reference = side("new", POLICY), side("old", {"a": "s", "b": "long"})
    with pytest.raises(InputError, match="missing for c, d, e, f"):
        evaluate_policy(LengthJudge(), PROMPTS, policy, reference)
    found = evaluate_policy(LengthJudge(), PROMPTS, policy, reference, missing="skip")
    assert (found.wins, found.losses, found.missing) == (1, 1, 4)
    with pytest.raises(InputError, match="missing for a"):
        evaluate_policy(LengthJudge(), [prompt("a")], [], [])


def test_nothing_decided_has_no_win_rate() -> None:
    found = evaluate_policy(LengthJudge(), [prompt("a")], side("new", {"a": "?"}), side("old", {"a": "x"}))
    assert found.win_rate is None
    assert found.unparsed == 1


def test_the_interval_holds_the_value_and_narrows_with_prompts() -> None:
    def rate(count: int) -> tuple[float, float, float]:
        names = [f"p{i}" for i in range(count)]
        policy = side("new", {name: "xxx" if i % 3 else "x" for i, name in enumerate(names)})
        reference = side("old", dict.fromkeys(names, "xx"))
        found = evaluate_policy(LengthJudge(), [prompt(name) for name in names], policy, reference).win_rate
        assert found is not None
        return found.low, found.value, found.high

    low, value, high = rate(30)
    assert low < value < high
    assert value == pytest.approx(2 / 3)
    lower, _, higher = rate(300)
    assert higher - lower < high - low


def test_comparisons_from_a_file_are_counted_in_either_order_and_once() -> None:
    policy, reference = side("new", POLICY), side("old", REFERENCE)
    comparisons = list(compare_policies(LengthJudge(), PROMPTS, policy, reference))
    expected = summarise(comparisons, PROMPTS, policy, reference)
    swapped = [comparison.swap() for comparison in comparisons]
    assert summarise(swapped, PROMPTS, policy, reference) == expected
    with pytest.raises(InputError, match="a second comparison"):
        summarise([comparisons[0], swapped[0]], PROMPTS, policy, reference)
    with pytest.raises(InputError, match="other candidates"):
        summarise(comparisons, PROMPTS, policy, side("another", REFERENCE))


def test_candidates_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(InputError, match="ids of their own"):
        evaluate_policy(LengthJudge(), [prompt("a")], side("x", {"a": "s"}), side("x", {"a": "t"}))
    with pytest.raises(InputError, match="one response of the policy"):
        evaluate_policy(LengthJudge(), [prompt("a")], side("x", {"a": "s"}) * 2, side("y", {"a": "t"}))


class LeaningJudge(LengthJudge):
    """Always says the response shown first, but a little less surely when the other one is longer."""

    def _ask(self, item: CompareItem) -> Judgment:
        first = 0.7 if len(item.first.text) > len(item.second.text) else 0.6
        probabilities = VerdictProbabilities(first=first, second=1 - first, tie=0.0)
        return Judgment(
            id=Judgment.verdict_id(item.first.id, item.second.id),
            prompt_id=item.prompt.id,
            candidate_ids=(item.first.id, item.second.id),
            outcome=Verdict(winner="first", probabilities=probabilities),
        )


def test_probabilities_still_tell_when_every_verdict_follows_the_position() -> None:
    longer, shorter = side("new", {"a": "long", "b": "long"}), side("old", {"a": "s", "b": "s"})
    found = evaluate_policy(LeaningJudge(), PROMPTS[:2], longer, shorter)
    assert (found.abstained, found.win_rate) == (2, None)
    assert found.soft_win_rate is not None
    assert found.soft_win_rate.value == pytest.approx((0.7 + 0.4) / 2)


def test_without_probabilities_of_the_judge_there_is_no_soft_win_rate() -> None:
    found = evaluate_policy(LengthJudge(), PROMPTS, side("new", POLICY), side("old", REFERENCE))
    assert found.identical == 1
    assert found.soft_win_rate is None
