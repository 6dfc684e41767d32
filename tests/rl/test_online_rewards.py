"""Rewards of an on-policy job: a part for the form, and failure budgets that stop all processes together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from rewards.errors import FailureBudgetError
from rewards.judges.base import Judge
from rewards.judges.config import JudgeSettings
from rewards.judges.load import load_judge
from rewards.reward_function import AsyncJudgeReward, JudgeReward
from rl.format_reward import AsyncFormattedReward, FormattedReward, FormatTerm, with_format
from rl.reward_boundary import HeldBackAsync, held_back

PROMPTS = [[{"role": "user", "content": "Why?"}]] * 3
COMPLETIONS = [[{"role": "assistant", "content": text}] for text in ("Because.\nSo.", "because", "")]


def judge() -> Judge:
    return load_judge(JudgeSettings(backend="scripted", rule="longer"))


def test_the_form_is_paid_for_beside_the_rating_and_never_without_one():
    plain = JudgeReward(judge())(prompts=PROMPTS, completions=COMPLETIONS)
    assert isinstance(plain, list)
    assert plain[2] is None  # an empty response
    logged: dict[str, float] = {}
    formed = with_format(JudgeReward(judge()), FormatTerm(pattern=r"[A-Z].*\.|", weight=0.5))
    assert isinstance(formed, FormattedReward)
    found = formed(prompts=PROMPTS, completions=COMPLETIONS, log_metric=logged.__setitem__)
    assert found == [plain[0] + 0.5, plain[1], None]
    assert logged["format"] == pytest.approx(2 / 3)
    assert formed.__name__ == "judge"
    reward = JudgeReward(judge())
    assert with_format(reward, None) is reward
    with pytest.raises(ValidationError, match="regular expression"):
        FormatTerm(pattern="(")


def test_a_judge_behind_a_server_stays_asynchronous():
    reward = AsyncJudgeReward(judge())
    formed = with_format(reward, FormatTerm(pattern=".*"))
    assert isinstance(formed, AsyncFormattedReward)
    plain = reward.score(PROMPTS, COMPLETIONS)
    boundary = held_back(formed)
    assert isinstance(boundary, HeldBackAsync)
    found = asyncio.run(boundary(prompts=PROMPTS, completions=COMPLETIONS))
    assert found == [None if one is None else one + 1 for one in plain]


def failing(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    raise FailureBudgetError("expected less")


async def failing_later(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    raise FailureBudgetError("expected less")


def test_an_error_of_the_budget_is_held_back_and_another_is_not():
    boundary = held_back(failing)
    assert boundary(prompts=PROMPTS, completions=COMPLETIONS) == [None] * 3
    assert isinstance(boundary.error, FailureBudgetError)
    assert boundary.__name__ == "failing"
    later = held_back(failing_later)
    assert asyncio.run(later(prompts=PROMPTS, completions=COMPLETIONS)) == [None] * 3
    assert isinstance(later.error, FailureBudgetError)

    def broken(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        held_back(broken)(prompts=PROMPTS, completions=COMPLETIONS)
