"""A judge as the reward function of TRL's trainers, used as it is: `GRPOTrainer(reward_funcs=JudgeReward(judge), …)`.

Design decisions. A completion that could not be judged is None, which GRPO and RLOO leave out of the baseline and give
no gradient; it is never 0 or -1. A failure budget over the last judgments stops the training when the judge breaks.
Results are matched to completions by id, since they come in any order. An endpoint judge gives an async reward, which
TRL runs beside other async rewards.

This module imports no trl and does not centre or whiten: the trainer does that. It keeps no judgments (a cache does).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias

from pydantic import ValidationError

from rewards.budget import FailureBudget
from rewards.errors import InputError
from rewards.judges.base import Judge, RateItem
from rewards.ratings import LengthTerm, rewards_from_ratings
from rewards.types import Candidate, Judgment, Message, Prompt, Reward

Conversation: TypeAlias = Sequence[Mapping[str, Any]]
Text: TypeAlias = str | Conversation
"""TRL's two forms of a prompt or a completion: a string, or a list of {role, content}."""

_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
RECENT = 512
"""Judgments that the default failure budget looks back on, so that a judge which breaks late is noticed."""


class JudgeReward:
    """The judge's expected rating (else the rating written) of each completion, or None where there is none.

    budget: stops the training with FailureBudgetError; by default 5% of the last 512 judgments may fail.
    rescale: the judge's scale (low, high), mapped to 0..1; None keeps rating points.
    length: a length term that is added as in `rewards.ratings`; its tokens are TRL's `completion_ids`. Its mean is
    over the completions of a prompt in one call.
    name: what TRL calls the reward in its logs.

    With an endpoint judge the object made is an `AsyncJudgeReward`.
    """

    def __new__(cls, judge: Judge, **_: Any) -> Self:
        """An object whose call is a coroutine where the judge is behind a server: TRL looks at the call's kind."""
        asynchronous = cls is JudgeReward and judge.card.backend == "endpoint"
        return super().__new__(AsyncJudgeReward if asynchronous else cls)  # type: ignore[return-value] # a subclass

    def __init__(
        self,
        judge: Judge,
        *,
        budget: FailureBudget | None = None,
        rescale: tuple[float, float] | None = None,
        name: str = "judge",
        length: LengthTerm | None = None,
    ) -> None:
        self.judge = judge
        self.budget = budget or FailureBudget(window=RECENT)
        self.__name__ = name
        self._rescale = rescale
        self._length = length

    def __call__(
        self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any
    ) -> list[float | None] | Awaitable[list[float | None]]:
        """One reward for each completion, in their order; see `score`."""
        return self.score(prompts, completions, **columns)

    def score(self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float | None]:
        """One reward (or None) for each pair of prompt and completion, in their order.

        Of TRL's further columns, `completion_ids` give lengths, and `log_metric` and `log_extra` are called.
        Raises InputError for prompts that are neither of TRL's forms and FailureBudgetError.
        """
        if len(prompts) != len(completions):
            raise InputError(f"expected one prompt per completion, got {len(prompts)} and {len(completions)}")
        counts = _token_counts(columns.get("completion_ids"), len(completions))
        items = [_item(index, *texts) for index, texts in enumerate(zip(prompts, completions, counts, strict=True))]
        judged = self.budget.watch(self.judge.rate(items), final=False)
        judgments = {judgment.candidate_ids[0]: judgment for judgment in judged}
        found = rewards_from_ratings(
            judgments.values(),
            candidates={item.candidate.id: item.candidate for item in items},
            rescale=self._rescale,
            length=self._length,
        )
        rewards = {one.candidate_id: one for one in found if isinstance(one, Reward)}
        ordered = [rewards.get(item.candidate.id) for item in items]
        self._log(ordered, columns.get("log_metric"))
        _log_critiques([judgments.get(item.candidate.id) for item in items], columns.get("log_extra"), self.__name__)
        return [None if reward is None else reward.value for reward in ordered]

    def _log(self, rewards: Sequence[Reward | None], log_metric: Callable[[str, float], None] | None) -> None:
        """Tell TRL what the mean reward hides: how many have none, how sure the judge is, what length costs."""
        if log_metric is None or not rewards:
            return
        scored = [reward for reward in rewards if reward is not None]
        log_metric(f"{self.__name__}/unscored", 1.0 - len(scored) / len(rewards))
        deviations = [math.sqrt(reward.variance) for reward in scored if reward.variance is not None]
        if deviations:
            log_metric(f"{self.__name__}/judge_std", _mean(deviations))
        if scored and self._length is not None:
            log_metric(f"{self.__name__}/length_term", _mean([reward.parts.get("length", 0.0) for reward in scored]))


class AsyncJudgeReward(JudgeReward):
    """The same reward as a coroutine, for judges that wait for a server."""

    async def __call__(
        self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any
    ) -> list[float | None]:
        """One reward for each completion, in their order; see `score`."""
        return await asyncio.to_thread(self.score, prompts, completions, **columns)


def _log_critiques(
    judgments: Sequence[Judgment | None], log_extra: Callable[[str, list[Any]], None] | None, name: str
) -> None:
    if log_extra is None:
        return
    said = [None if one is None else one.critique or one.outcome.model_dump_json() for one in judgments]
    log_extra(f"{name}_critique", said)


def _item(index: int, prompt: Text, completion: Text, tokens: int | None) -> RateItem:
    messages = _messages(prompt)
    canonical = json.dumps([message.model_dump() for message in messages])
    prompt_id = hashlib.sha256(canonical.encode("ascii")).hexdigest()[:16]
    try:
        asked = Prompt(id=prompt_id, messages=tuple(messages))
    except ValidationError as error:
        raise InputError(f"expected a prompt that a judge can read, got: {error.errors()[0]['msg']}") from error
    # By number, not by text: equal completions are different rows to the trainer.
    candidate = Candidate(
        id=f"{prompt_id}:{index}", prompt_id=prompt_id, text=_plain(_completion_text(completion)), token_count=tokens
    )
    return RateItem(prompt=asked, candidate=candidate)


def _messages(prompt: Text) -> list[Message]:
    if isinstance(prompt, str):
        return [Message(role="user", content=_plain(prompt))]
    messages = []
    for turn in prompt:
        role = _ROLES.get(str(turn.get("role")))
        if role is None:
            raise InputError(f"expected the roles {', '.join(_ROLES)} in a prompt, got {turn.get('role')!r}")
        messages.append(Message(role=role, content=_plain(_content_text(turn.get("content")))))
    return messages


def _completion_text(completion: Text) -> str:
    """The text that the assistant wrote; turns of tools are not its own."""
    if isinstance(completion, str):
        return completion
    own = [_content_text(turn.get("content")) for turn in completion if turn.get("role") == "assistant"]
    return "\n\n".join(text for text in own if text)


def _content_text(content: Any) -> str:
    """The text of a message: a string, nothing, or TRL's content blocks, of which a judge reads the text."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, Sequence):
        return "".join(str(block.get("text", "")) for block in content if block.get("type") == "text")
    raise InputError(f"expected a message's content to be text or a list of blocks, got {type(content).__name__}")


def _plain(text: str) -> str:
    """The text with lone surrogates (which no judge can be sent) replaced by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _token_counts(ids: Any, count: int) -> list[int | None]:
    return [None] * count if ids is None else [len(one) for one in ids]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
