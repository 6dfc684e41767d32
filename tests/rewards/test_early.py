"""Ratings asked for early: the same rewards, each question once, and a bound on what is under way."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import pytest

from rewards.budget import FailureBudget
from rewards.early import EarlyRatings
from rewards.errors import FailureBudgetError, JudgeUnavailableError
from rewards.judges.base import Question, RateItem
from rewards.reward_function import AsyncJudgeReward
from rewards.types import Candidate, Message, Prompt, Rating, Unparsed
from tests.rewards.test_reward_function import Reversed, by_text, judge

PROMPT = Prompt(id="p", messages=(Message(role="user", content="Say r and a number."),))


def item(text: str, index: int = 0) -> RateItem:
    return RateItem(prompt=PROMPT, candidate=Candidate(id=f"p:{index}", prompt_id="p", text=text, index=index))


def test_what_was_asked_early_is_not_asked_again_and_keeps_the_ids_of_the_call() -> None:
    asked: Counter[str] = Counter()

    def reply(question: Question) -> Any:
        asked[question.responses[0]] += 1
        return by_text(question)

    early = EarlyRatings(judge(reply), 4)
    for text in ("r5", "r2", "never wanted"):
        early.ask(item(text))
    found = list(early.rate([item("r2", 0), item("r5", 1), item("r2", 2), item("r9", 3)]))
    assert [one.candidate_ids for one in found] == [(f"p:{index}",) for index in range(4)]
    assert [one.outcome.value for one in found if isinstance(one.outcome, Rating)] == [2, 5, 2, 9]
    assert len({one.id for one in found}) == 4
    assert asked == {"r5": 1, "r2": 1, "r9": 1, "never wanted": 1}


def test_no_more_are_under_way_than_allowed() -> None:
    now, most, lock = 0, 0, threading.Lock()

    def reply(question: Question) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return by_text(question)

    early = EarlyRatings(judge(reply), 3)
    for number in range(1, 9):
        early.ask(item(f"r{number}"))
    assert len(list(early.rate([item(f"r{number}", number) for number in range(1, 10)]))) == 9
    assert most == 3


def test_a_dead_judge_is_an_error_when_the_rewards_are_wanted() -> None:
    def reply(question: Question) -> Any:
        raise JudgeUnavailableError("gone")

    early = EarlyRatings(judge(reply), 2)
    early.ask(item("r1"))
    with pytest.raises(JudgeUnavailableError, match="gone"):
        list(early.rate([item("r1")]))


def test_nothing_more_is_asked_once_the_rewards_are_given_up() -> None:
    asked: list[str] = []

    def reply(question: Question) -> Any:
        asked.append(question.responses[0])
        time.sleep(0.02)
        return by_text(question)

    early = EarlyRatings(judge(reply), 1)
    given = early.rate([item(f"r{number}", number) for number in range(1, 40)])
    next(iter(given))
    given.close()  # type: ignore[attr-defined]  # a generator
    time.sleep(0.2)
    assert len(asked) <= 4


def test_nothing_more_is_asked_once_the_budget_is_used_up() -> None:
    asked: list[str] = []

    def reply(question: Question) -> Any:
        asked.append(question.responses[0])
        time.sleep(0.01)
        return Unparsed(reason="no_verdict", detail="")

    early = EarlyRatings(judge(reply), 1)
    budget = FailureBudget(limit=0.5, minimum=2)
    with pytest.raises(FailureBudgetError) as held:
        list(budget.watch(early.rate([item(f"r{number}", number) for number in range(1, 40)])))
    time.sleep(0.2)
    assert held.value
    assert len(asked) <= 5


@pytest.mark.parametrize("early", [0, 2])
def test_rewards_are_the_same_with_and_without(early: int) -> None:
    asked: list[str] = []

    def reply(question: Question) -> Any:
        asked.append(question.responses[0])
        return by_text(question)

    reward = AsyncJudgeReward(Reversed(judge(reply), backend="endpoint"), early=early, budget=FailureBudget(limit=1.0))
    reward.ask_early("Say r and a number.", "r3")
    reward.ask_early([{"role": "user", "content": "Say r and a number."}], [{"role": "assistant", "content": "x"}])
    found = asyncio.run(reward(["Say r and a number."] * 4, ["x", "r3", "", "r8"]))
    assert found == [None, 3.0, None, 8.0]
    assert sorted(asked) == ["r3", "r8", "x"]
