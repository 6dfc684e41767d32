"""Rewards that stop a run: the error is held back until all processes can stop together.

Design decision. A failure budget is used up, or a judge is lost, on one process, in the middle of a step in which the
others wait for its rewards. Raised there, it would leave them waiting and nothing could be saved. So the error is
kept, the batch has no rewards, and the trainer asks after every batch whether any process holds an error.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rewards.errors import FailureBudgetError, JudgeUnavailableError

Rewards = list[float | None]
RewardFunction = Callable[..., Rewards | Awaitable[Rewards]]
"""What TRL's trainers take: called with prompts, completions and more columns, one reward or None for each."""


STOPPING = (FailureBudgetError, JudgeUnavailableError)
"""What ends a run, with its last finished step saved."""


class HeldBack:
    """A reward function whose `STOPPING` error is kept as `error`, with None for every completion."""

    def __init__(self, function: RewardFunction) -> None:
        self.function = function
        self.error: FailureBudgetError | JudgeUnavailableError | None = None
        self.__name__ = str(getattr(function, "__name__", type(function).__name__))

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Any:
        """The rewards of the function, or nothing but None once it has failed."""
        try:
            return self.function(prompts=prompts, completions=completions, **columns)
        except STOPPING as error:
            self.error = error
            return [None] * len(completions)


class HeldBackAsync(HeldBack):
    """The same for a function whose call is a coroutine."""

    async def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Any:
        """The rewards of the function, or nothing but None once it has failed."""
        try:
            return await self.function(prompts=prompts, completions=completions, **columns)  # type: ignore[misc]
        except STOPPING as error:
            self.error = error
            return [None] * len(completions)


def held_back(function: RewardFunction) -> HeldBack:
    """The function behind the boundary, of its own kind: TRL looks at whether a call is a coroutine."""
    called = function if inspect.isroutine(function) else type(function).__call__
    return HeldBackAsync(function) if inspect.iscoroutinefunction(called) else HeldBack(function)
