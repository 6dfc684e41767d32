"""A judge as the reward function of TRL's trainers, used as it is: `GRPOTrainer(reward_funcs=JudgeReward(judge), …)`.

Design decisions. A completion that could not be judged is None, which GRPO and RLOO leave out of the baseline and give
no gradient; it is never 0 or -1. A failure budget over the last judgments stops the training when the judge breaks.
Results are matched to completions by id, since they come in any order. An endpoint judge gives an async reward, which
TRL runs beside other async rewards. Rewards are absolute ratings, or strengths within the group of a prompt for a
judge that compares better than it rates.

This module imports no trl and does not centre or whiten: the trainer does that. It keeps no judgments (a cache does).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias

from pydantic import ValidationError

from rewards.budget import FailureBudget
from rewards.calibration import CalibrationMap
from rewards.designs import pairs_for
from rewards.early import EarlyRatings
from rewards.errors import InputError
from rewards.judges.base import CompareItem, Judge, RateItem
from rewards.ratings import LengthTerm, rewards_from_ratings
from rewards.types import Candidate, Comparison, Judgment, Message, Prompt, Reward, Unscored
from rewards.verdicts import rewards_from_comparisons

Conversation: TypeAlias = Sequence[Mapping[str, Any]]
Text: TypeAlias = str | Conversation
"""TRL's two forms of a prompt or a completion: a string, or a list of {role, content}."""

GroupDesign: TypeAlias = Literal["circular", "anchor", "all"]
"""Which completions of a prompt are compared with which; see `rewards.designs`."""

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

    compare: instead of rating each, compare the completions of a prompt with each other, in both orders: each with
    the next of a ring ("circular", n comparisons a group), with the first ("anchor"), or with every other one ("all").
    The reward is then a log-strength of Bradley and Terry's model with ties (Davidson 1970), in nats around 0 within
    the group; None for the whole group when too many orders disagree to put it on one scale. A group is what one
    process has in one call: keep the batch of a process a multiple of `num_generations`.
    budget: stops the training with FailureBudgetError; by default 5% of the last 512 judgments may fail.
    calibration: a map from the judge's ratings to people's (`autoj evaluate-judge calibration --kind
        ratings --save`).
    rescale: the judge's scale (low, high), or with `calibration` that of its labels, mapped to 0..1; None keeps
        rating points.
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
        compare: GroupDesign | None = None,
        budget: FailureBudget | None = None,
        calibration: CalibrationMap | None = None,
        rescale: tuple[float, float] | None = None,
        name: str = "judge",
        length: LengthTerm | None = None,
    ) -> None:
        if compare is not None and any(one is not None for one in (calibration, rescale, length)):
            raise InputError(
                "expected calibration, rescale and length only without compare, since they are in rating points"
            )
        if calibration is not None:
            calibration.check_rewards(judge.card.digest, rescale)
        self.judge = judge
        self._compare = compare
        self.budget = budget or FailureBudget(window=RECENT)
        self.__name__ = name
        self._calibration = calibration
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
        judge = self._rated if self._compare is None else self._compared
        found, said = judge(items)
        rewards = {one.candidate_id: one for one in found if isinstance(one, Reward)}
        ordered = [rewards.get(item.candidate.id) for item in items]
        self._log(ordered, columns.get("log_metric"))
        _log_critiques([said.get(item.candidate.id) for item in items], columns.get("log_extra"), self.__name__)
        return [None if reward is None else reward.value for reward in ordered]

    def _rated(self, items: Sequence[RateItem]) -> tuple[list[Reward | Unscored], dict[str, Judgment]]:
        """A reward from the rating of each, and what was said of it by candidate id."""
        judged = self.budget.watch(self._rate(items), final=False)
        judgments = {judgment.candidate_ids[0]: judgment for judgment in judged}
        candidates = {item.candidate.id: item.candidate for item in items}
        found = rewards_from_ratings(
            judgments.values(),
            candidates=candidates,
            calibration=self._calibration,
            rescale=self._rescale,
            length=self._length,
        )
        return found, judgments

    def _rate(self, items: Sequence[RateItem]) -> Iterable[Judgment]:
        return self.judge.rate(items)

    def _compared(self, items: Sequence[RateItem]) -> tuple[list[Reward | Unscored], dict[str, Judgment]]:
        """A reward from the comparisons within each group, and one judgment that each stands in."""
        there = {item.candidate.id: item for item in items if item.candidate.text.strip()}
        pairs = [pair for group in _groups(there.values()) for pair in pairs_for(group, self._compare or "circular")]
        asked = [
            CompareItem(prompt=there[one].prompt, first=there[one].candidate, second=there[two].candidate)
            for one, two in pairs
        ]
        compared: list[Comparison] = list(self.budget.watch(self.judge.compare(asked), final=False))
        found = rewards_from_comparisons(compared, [item.candidate for item in there.values()], method="bradley_terry")
        said = {name: one.judgments[0] for one in compared for name in (one.first_id, one.second_id)}
        return found, said

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


def _groups(items: Iterable[RateItem]) -> list[list[Candidate]]:
    """The candidates of each prompt."""
    groups: dict[str, list[Candidate]] = {}
    for item in items:
        groups.setdefault(item.prompt.id, []).append(item.candidate)
    return list(groups.values())


class AsyncJudgeReward(JudgeReward):
    """The same reward as a coroutine, for judges that wait for a server; a rating may be asked for early."""

    def __init__(self, judge: Judge, *, early: int = 0, **more: Any) -> None:
        """early: ratings under way at once when they may be asked for before `score`; 0 asks then only."""
        super().__init__(judge, **more)
        self._early = EarlyRatings(judge, early) if early and self._compare is None else None

    def ask_early(self, prompt: Text, completion: Text) -> None:
        """Have a completion rated before the call that wants its reward; changes no reward."""
        if self._early is not None:
            self._early.ask(_item(0, prompt, completion, None))

    def _rate(self, items: Sequence[RateItem]) -> Iterable[Judgment]:
        return self.judge.rate(items) if self._early is None else self._early.rate(items)

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
