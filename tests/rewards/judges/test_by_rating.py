"""Comparisons made of ratings: the order cannot matter, the distributions decide, and a failure stays a failure."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.judges.base import CompareItem, Question
from rewards.judges.by_rating import _of_distributions
from rewards.judges.generative import GenerativeJudge
from rewards.judges.scripted import ScriptedBackend
from rewards.protocol.builtin import builtin_protocol
from rewards.types import Abstained, Candidate, Message, Prompt, Unparsed, Verdict

PROTOCOL = builtin_protocol().model_copy(update={"compare_by": "rating"})
PROMPT = Prompt(id="p", messages=(Message(role="user", content="Say a number."),))


def judge(reply: Callable[[Question], str | Unparsed]) -> GenerativeJudge:
    return GenerativeJudge(ScriptedBackend(reply), PROTOCOL, "critique")


def by_number(question: Question) -> str:
    assert len(question.responses) == 1  # nobody is asked the pairwise question
    text = question.responses[0]
    return f"Rating: [[{text}]]" if text.isdigit() else "I cannot say."


def item(first: str, second: str, prompt: Prompt = PROMPT) -> CompareItem:
    names = (f"{first}-a", f"{second}-b")
    one, two = (
        Candidate(id=name, prompt_id=prompt.id, text=text) for name, text in zip(names, (first, second), strict=True)
    )
    return CompareItem(prompt=prompt, first=one, second=two)


@pytest.mark.parametrize(("first", "second", "winner"), [("7", "3", "first"), ("3", "7", "second"), ("5", "5", "tie")])
@pytest.mark.parametrize("both", [True, False])
def test_the_higher_rating_wins(first: str, second: str, winner: str, both: bool):
    (found,) = judge(by_number).compare([item(first, second)], both_orders=both)
    assert isinstance(found.outcome, Verdict)
    assert found.outcome.winner == winner
    assert len(found.judgments) == (2 if both else 1)


def test_what_cannot_be_rated_leaves_no_verdict():
    (found,) = judge(by_number).compare([item("7", "a word")])
    assert isinstance(found.outcome, Abstained)
    assert found.outcome.reason == "unparsed"
    outcome = found.judgments[0].outcome
    assert isinstance(outcome, Unparsed)
    assert outcome.detail.startswith("the second response was not rated")


def test_a_response_in_several_comparisons_is_rated_once():
    asked: list[str] = []

    def reply(question: Question) -> str:
        asked.append(question.responses[0])
        return by_number(question)

    items = [item("7", "3"), item("7", "4"), item("3", "4")]
    found = {one.id: one.outcome for one in judge(reply).compare(items)}
    assert len(found) == 3
    assert sorted(asked) == ["3", "4", "7"]


def test_equal_candidate_ids_of_two_prompts_are_two_responses():
    other = Prompt(id="q", messages=(Message(role="user", content="Say another number."),))
    items = [item("7", "3"), item("7", "9", other)]
    winners = [one.outcome.winner for one in judge(by_number).compare(items) if isinstance(one.outcome, Verdict)]
    assert sorted(winners) == ["first", "second"]


shares = st.lists(st.floats(0.001, 1), min_size=10, max_size=10).map(
    lambda found: {str(rating + 1): share / sum(found) for rating, share in enumerate(found)}
)


@given(shares, shares)
def test_the_order_cannot_matter(one: dict[str, float], other: dict[str, float]):
    there, back = _of_distributions(one, other), _of_distributions(other, one)
    assert there.winner == back.swap().winner
    assert there.probabilities is not None
    assert back.probabilities is not None
    swapped = back.probabilities.swap()
    assert there.probabilities.first == pytest.approx(swapped.first)
    total = there.probabilities.first + there.probabilities.second + there.probabilities.tie
    assert total == pytest.approx(1.0)


def test_probabilities_are_those_of_independent_ratings():
    found = _of_distributions({"1": 0.5, "10": 0.5}, {"5": 1.0})
    assert found.winner == "tie"  # as often higher as lower
    assert found.probabilities is not None
    assert (found.probabilities.first, found.probabilities.second) == (0.5, 0.5)
    assert _of_distributions({"6": 0.9, "1": 0.1}, {"5": 1.0}).winner == "first"
    assert _of_distributions({"5": 0.8, "6": 0.2}, {"5": 0.9, "4": 0.1}).winner == "tie"


def test_the_digest_tells_and_the_old_one_stays():
    assert PROTOCOL.digest != builtin_protocol().digest
    assert builtin_protocol().model_copy(update={"compare_by": "question"}).digest == builtin_protocol().digest
