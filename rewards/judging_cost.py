"""What judging would cost, before anything is spent: questions, tokens, time, hours of devices.

Design decisions. Questions are counted as they would be asked: rendered by the protocol, equal ones once, those about
empty responses not at all, those in a cache not again. Tokens are counted on these questions with the judge's own
tokenizer (on an even sample of them where there are many) or, behind a server, by the server's own count of a few.
Time comes from a measured rate. A number that nothing was measured or counted for is None, and `notes` says what would
tell it; nothing is guessed in its place. Where responses are not sampled yet their limit is taken, and the sum is
marked as the most it can be.

This module asks nothing but the probe, and writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from rewards.judges.base import Answer, Backend, CompareItem, Judge, Question, RateItem
from rewards.judges.by_rating import sides
from rewards.judges.cache import Kind, reading_key
from rewards.judges.questions import compare_question, rate_question
from rewards.protocol.render import Mode
from rewards.protocol.spec import Decoding, JudgeProtocol
from rewards.types import Judgment, Record

SAMPLE = 200
"""Questions of a kind that are tokenised at most; the rest is scaled."""

Count = Callable[[Question], int]


@dataclass(frozen=True, slots=True)
class Planned:
    """Questions of one kind that a job would ask."""

    name: str
    """ratings, comparisons, …"""
    kind: Kind
    questions: tuple[Question, ...]
    """Each different one, with the responses where they are known."""
    total: int | None = None
    """Questions in all, where these stand for them: those about responses that are not sampled yet look alike."""
    unseen_tokens: int = 0
    """The most tokens that the unknown responses add to each question."""
    at_most: bool = False
    """Whether fewer may be asked (equal or empty responses, ties)."""

    @property
    def count(self) -> int:
        """Questions in all."""
        return len(self.questions) if self.total is None else self.total


def plan_items(
    name: str,
    items: Iterable[RateItem | CompareItem],
    protocol: JudgeProtocol,
    mode: Mode,
    *,
    both_orders: bool = True,
) -> Planned:
    """The questions about items whose responses are known: exact. All items are of one kind.

    A judge whose protocol compares by ratings is asked for the ratings of both responses.
    """
    found: dict[str, Question] = {}
    kind: Kind = "rate"
    for item in asked_about(items, protocol):
        if isinstance(item, RateItem):
            asked = [rate_question(item, protocol, mode)]
        else:
            kind = "compare"
            orders = (item, item.swap()) if both_orders else (item,)
            asked = [compare_question(order, protocol, mode) for order in orders]
        found |= {question.content: question for question in asked if question is not None}
    return Planned(name, kind, tuple(found.values()))


def asked_about(items: Iterable[RateItem | CompareItem], protocol: JudgeProtocol) -> list[RateItem | CompareItem]:
    """What a judge is asked about for these items: of a judge that compares by ratings, each response once."""
    kept = list(items)
    if protocol.compare_by == "question":
        return kept
    pairs = [item for item in kept if isinstance(item, CompareItem)]
    return [*(item for item in kept if isinstance(item, RateItem)), *sides(pairs)]


def asked_once(planned: Iterable[Planned]) -> list[Planned]:
    """The plan of a job with a cache: a question of an earlier line is not asked again in a later one.

    Questions about responses that are not sampled yet stand for others and are left as they are.
    """
    seen: set[tuple[Kind, str]] = set()
    kept = []
    for one in planned:
        if one.unseen_tokens:
            kept.append(one)
            continue
        new = tuple(question for question in one.questions if (one.kind, question.content) not in seen)
        seen |= {(one.kind, question.content) for question in new}
        kept.append(replace(one, questions=new))
    return kept


class CostLine(Record):
    """The questions of one kind."""

    name: str
    calls: int
    """Left to ask: questions times samples, without those that the cache holds."""
    cached: int = 0
    at_most: bool = False
    prompt_tokens: int | None = None
    counted: int = 0
    """Questions whose tokens were counted; the sum is scaled from them."""


class Probe(Record):
    """A few questions, asked and timed."""

    questions: int
    seconds: float
    prompt_tokens: int | None
    """Of all of them; None where the judge does not count."""
    new_tokens: int | None
    characters: int
    """Of the questions."""


class Rate(Record):
    """How fast a judge is, measured."""

    tokens_per_second: float | None = None
    """Prompt and new tokens together."""
    judgments_per_second: float | None = None
    source: str
    """Where it was measured, in words."""


class CostEstimate(Record):
    """What a job would ask of its judge, or of the policy that it samples from."""

    judge: str
    """Who is asked, and how."""
    lines: tuple[CostLine, ...]
    calls: int
    cached: int
    prompt_tokens: int | None
    new_tokens: int | None
    """Expected, by the probe; 0 where verdicts are read and not written."""
    most_new_tokens: int
    """If every answer ran to its limit."""
    at_most: bool
    """Whether the numbers are the most it can be."""
    rate: Rate | None
    seconds: float | None
    devices: int | None
    device: str
    """GPU, CPU core, or what is behind a server."""
    device_hours: float | None
    notes: tuple[str, ...] = Field(default=())
    """How each number was got, and what would tell those that are not known."""
    others: tuple[CostEstimate, ...] = Field(default=())
    """The same for every further judge that the job asks, or for questions that are answered in another way."""


def probe(judge: Judge, items: Sequence[RateItem | CompareItem], *, warm_up: bool) -> Probe:
    """Ask about a few items and take the time. With `warm_up` the first is asked once before, untimed."""
    if warm_up:
        _ask(judge, items[:1])
    started = time.perf_counter()
    judgments = _ask(judge, items)
    return Probe(
        questions=len(judgments),
        seconds=time.perf_counter() - started,
        prompt_tokens=_sum([one.prompt_tokens for one in judgments]),
        new_tokens=_sum([one.new_tokens or 0 for one in judgments]),
        characters=sum(map(_shown_characters, items)),
    )


def probe_written(backend: Backend, questions: Sequence[Question], decoding: Decoding, *, warm_up: bool) -> Probe:
    """The same for a few questions that are answered in free writing, whatever the judge's mode."""
    if warm_up:
        list(backend.generate(questions[:1], decoding))
    started = time.perf_counter()
    answers = [answer for _, answer in backend.generate(questions, decoding)]
    seconds = time.perf_counter() - started
    written = [answer for answer in answers if isinstance(answer, Answer)]
    return Probe(
        questions=len(questions),
        seconds=seconds,
        prompt_tokens=_sum([one.prompt_tokens for one in written]),
        new_tokens=_sum([one.new_tokens for one in written]),
        characters=sum(len(one.query) + sum(map(len, one.responses)) for one in questions),
    )


def _ask(judge: Judge, items: Sequence[RateItem | CompareItem]) -> list[Judgment]:
    single = [item for item in items if isinstance(item, RateItem)]
    pairs = [item for item in items if isinstance(item, CompareItem)]
    compared = judge.compare(pairs, both_orders=False) if pairs else ()
    return [*judge.rate(single), *(one for comparison in compared for one in comparison.judgments)]


def _shown_characters(item: RateItem | CompareItem) -> int:
    responses = [item.candidate] if isinstance(item, RateItem) else [item.first, item.second]
    return sum(len(one.text) for one in responses) + sum(len(one.content) for one in item.prompt.messages)


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def cost_line(
    planned: Planned, count: Count | None, *, samples: int, digest: str | None, cached: Callable[[str], bool]
) -> CostLine:
    """The calls and tokens of questions of one kind.

    digest: the judge's, with which the cache's keys are made; None where it is not known or nothing is cached.
    """
    left, kept = planned.questions, 0
    if digest is not None and not planned.unseen_tokens:
        missing = [_missing(digest, planned.kind, one, samples, cached) for one in planned.questions]
        left = tuple(one for one, number in zip(planned.questions, missing, strict=True) if number)
        kept = planned.count * samples - sum(missing)
    calls = planned.count * samples - kept
    counted = left[:: max(1, -(-len(left) // SAMPLE))]
    tokens = None
    if count is not None:
        tokens = round(calls * (sum(map(count, counted)) / max(1, len(counted)) + planned.unseen_tokens))
    return CostLine(
        name=planned.name,
        calls=calls,
        cached=kept,
        at_most=planned.at_most,
        prompt_tokens=tokens,
        counted=len(counted) if count is not None else 0,
    )


def _missing(digest: str, kind: Kind, question: Question, samples: int, cached: Callable[[str], bool]) -> int:
    """How many samples of a question the cache does not hold."""
    keys = (reading_key(digest, kind, question.content, sample) for sample in range(samples))
    return sum(not cached(key) for key in keys)


def rate_of(found: Probe, source: str) -> Rate:
    """The rate that a probe measured: in tokens where the judge counts them, else in judgments."""
    seconds = max(found.seconds, 1e-9)
    tokens = None if found.prompt_tokens is None else found.prompt_tokens + (found.new_tokens or 0)
    return Rate(
        tokens_per_second=tokens / seconds if tokens else None,
        judgments_per_second=found.questions / seconds,
        source=source,
    )


def seconds_for(rate: Rate | None, calls: int, tokens: int | None) -> float | None:
    """Time at a rate: by tokens where both are known, else by calls; None where neither is."""
    if calls == 0:
        return 0.0
    if rate is not None and rate.tokens_per_second is not None and tokens is not None:
        return tokens / rate.tokens_per_second
    if rate is not None and rate.judgments_per_second is not None:
        return calls / rate.judgments_per_second
    return None
