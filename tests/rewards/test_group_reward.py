"""Rewards from comparisons inside a group: the better is stronger, in both orders, and what is unclear is None."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from rewards.budget import FailureBudget
from rewards.calibration import CalibrationMap
from rewards.errors import FailureBudgetError, InputError
from rewards.judges.base import Question
from rewards.judges.generative import GenerativeJudge
from rewards.judges.scripted import ScriptedBackend
from rewards.protocol.builtin import builtin_protocol
from rewards.reward_function import JudgeReward
from rewards.types import Unparsed

OPEN = FailureBudget(limit=1.0)
DESIGNS = ("circular", "anchor", "all")


def larger(question: Question) -> str | Unparsed:
    """The larger number is the better response; words cannot be compared."""
    one, two = question.responses
    if not (one.isdigit() and two.isdigit()):
        return "I cannot say."
    winner = "Tie" if one == two else "Response 1" if int(one) > int(two) else "Response 2"
    return f"Final decision: {winner}"


def reward(reply: Callable[[Question], str | Unparsed] = larger, **settings: Any) -> JudgeReward:
    judge = GenerativeJudge(ScriptedBackend(reply), builtin_protocol(), "critique")
    return JudgeReward(judge, **({"compare": "all", "budget": OPEN} | settings))


def called(function: JudgeReward, texts: list[str], prompts: list[str] | None = None) -> list[float | None]:
    result = function(prompts or ["Say a number."] * len(texts), texts)
    assert isinstance(result, list)
    return result


@pytest.mark.parametrize("design", DESIGNS)
def test_the_better_completion_is_stronger(design: str):
    values = called(reward(compare=design), ["5", "9", "1", "7"])
    assert None not in values
    five, nine, one, seven = (value for value in values if value is not None)
    assert nine > one
    assert sum((five, nine, one, seven)) == pytest.approx(0.0, abs=1e-4)
    if design == "all":
        assert nine > seven > five > one


def test_every_group_is_on_its_own():
    texts, prompts = ["1", "8", "2", "9"], ["a", "b", "a", "b"]
    one, eight, two, nine = called(reward(), texts, prompts)
    assert one == pytest.approx(eight)
    assert two == pytest.approx(nine)
    assert one is not None
    assert two is not None
    assert two > one


def test_a_group_that_is_too_unclear_has_no_reward_and_the_others_keep_theirs():
    texts, prompts = ["a word", "another", "3", "4"], ["a", "a", "b", "b"]
    assert called(reward(), texts, prompts)[:2] == [None, None]
    assert None not in called(reward(), texts, prompts)[2:]


def test_one_that_cannot_be_compared_is_none_beside_others_that_can():
    values = called(reward(), ["", "3", "4", " "])
    assert values[0] is None
    assert values[3] is None
    assert values[1] is not None
    assert values[2] is not None


def test_a_judge_that_always_says_first_rewards_nobody():
    assert called(reward(lambda _: "Final decision: Response 1"), ["1", "2", "3"]) == [None] * 3


def test_equal_completions_get_equal_rewards():
    four, six, again = called(reward(), ["4", "6", "4"])
    assert four == again
    assert four is not None
    assert six is not None
    assert six > four


def test_a_broken_judge_stops_the_training():
    function = reward(lambda _: "no", budget=FailureBudget(limit=0.05, minimum=4))
    with pytest.raises(FailureBudgetError):
        called(function, [str(number) for number in range(8)])


def test_rating_points_are_no_strengths():
    with pytest.raises(InputError, match="compare"):
        reward(rescale=(1, 10))
    with pytest.raises(InputError, match="calibration"):
        reward(calibration=CalibrationMap(kind="rating", x=(1,), y=(1,), n=1))


def test_a_server_is_waited_for():
    judge = GenerativeJudge(ScriptedBackend(larger), builtin_protocol(), "critique")
    judge.__dict__["card"] = judge.card.model_copy(update={"backend": "endpoint"})
    assert inspect.iscoroutinefunction(type(JudgeReward(judge, compare="circular")).__call__)
