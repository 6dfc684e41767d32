"""A part of the reward for a response's form, added to what the judge says.

Design decision. It is added inside the judge's reward and is no reward function of its own: TRL adds up whatever
functions have an answer, so a response that the judge could not read would be paid for its form alone. Here it stays
without a reward.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import Field, field_validator

from rewards.judges.config import Settings
from rewards.reward_function import AsyncJudgeReward, JudgeReward
from rl.reward_boundary import HeldBack


class FormatTerm(Settings):
    """What a response should look like."""

    pattern: str
    """A regular expression that the whole response must match; a dot is any character, line ends too."""
    weight: float = Field(default=1.0, gt=0)
    """Reward for a response that matches, in the judge's units after rescaling."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"expected a regular expression, got {pattern!r}: {error}") from error
        return pattern


class FormattedReward:
    """A judge's reward with a part for the form; `format` in TRL's logs is the share that matches."""

    def __init__(self, judge: JudgeReward, term: FormatTerm) -> None:
        self.judge = judge
        self.term = term
        self.__name__ = judge.__name__
        self._pattern = re.compile(term.pattern, re.DOTALL)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Any:
        """One reward (or None) for each completion."""
        return self._add(self.judge.score(prompts, completions, **columns), completions, columns)

    def _add(
        self, rewards: Sequence[float | None], completions: Sequence[Any], columns: dict[str, Any]
    ) -> list[float | None]:
        matches = [self._pattern.fullmatch(_text(completion)) is not None for completion in completions]
        log = columns.get("log_metric")
        if log is not None and matches:
            log("format", sum(matches) / len(matches))
        return [
            None if reward is None else reward + self.term.weight * match
            for reward, match in zip(rewards, matches, strict=True)
        ]


class AsyncFormattedReward(FormattedReward):
    """The same for a judge that waits for a server."""

    async def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """One reward (or None) for each completion."""
        import asyncio

        rewards = await asyncio.to_thread(self.judge.score, prompts, completions, **columns)
        return self._add(rewards, completions, columns)


def with_format(judge: JudgeReward, term: FormatTerm | None) -> JudgeReward | FormattedReward:
    """The judge's reward, with the part for the form where there is one."""
    if term is None:
        return judge
    return AsyncFormattedReward(judge, term) if isinstance(judge, AsyncJudgeReward) else FormattedReward(judge, term)


def judge_behind(boundary: HeldBack) -> AsyncJudgeReward | None:
    """The judge behind a server that a reward function asks, where there is one."""
    function = boundary.function
    judge = function.judge if isinstance(function, FormattedReward) else function
    return judge if isinstance(judge, AsyncJudgeReward) else None


def _text(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    return "".join(str(turn.get("content") or "") for turn in completion if turn.get("role") == "assistant")
