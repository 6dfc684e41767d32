"""The judge: renders, asks, reads, caches; the same code over every backend.

Design decisions. Items are read lazily in windows and results are given as they come, in any order, so a stream of
any length needs the memory of one window and a killed job has lost nothing that was given. Equal questions in a
window are asked once. An empty response is not asked about. Both orders of a comparison are two questions like any
other, and `rewards.verdicts.resolve` is the one place where they meet.

It turns no failure into a number, does not retry, and does not decide how many failures are too many
(`rewards.budget`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Literal, Protocol, TypeVar, runtime_checkable

from rewards.errors import InputError
from rewards.judges.base import Answer, Backend, CompareItem, JudgeCard, Question, RateItem
from rewards.judges.by_rating import sides, verdicts
from rewards.judges.cache import JudgmentCache, Reading, reading_key
from rewards.judges.questions import compare_question, rate_question
from rewards.judges.readings import (
    Grammar,
    combine,
    insist,
    rating_grammar,
    read_direct,
    read_written,
    verdict_grammar,
    with_distribution,
)
from rewards.judges.rivals.lenient import LENIENT_VERSION
from rewards.protocol.spec import Decoding, JudgeProtocol
from rewards.types import Comparison, Judgment, Unparsed
from rewards.verdicts import resolve

Mode = Literal["critique", "direct"]
ItemT = TypeVar("ItemT")

_DIRECT_TOKENS = 32
"""Enough to write a verdict and nothing else."""
_EMPTY = Reading(outcome=Unparsed(reason="empty_response", detail="there is no response to judge"))


@runtime_checkable
class _Warns(Protocol):
    """A backend that has something to say about itself."""

    @property
    def warnings(self) -> tuple[str, ...]: ...


class GenerativeJudge:
    """A `Judge` that asks a generative backend in the words of a protocol.

    mode: `critique` writes a critique and then the verdict; the expected rating is read where the verdict stands, if
    the backend can tell. `direct` reads the distribution of the verdict at once; a backend that cannot tell it writes
    a short answer instead, and then there is no expected rating unless its reported alternatives settle it.
    decoding: instead of the protocol's. In direct mode with exact distributions there is nothing to draw, so
    `samples` asks once.
    window: items looked at together; results come within a window, and at most this many are in memory.
    chunk: written critiques that are scored together; a job killed in between writes at most these again.
    lenient: read what a model wrote that was not taught the grammar (`rewards.judges.rivals.lenient`).
    require_expected: a rating without an expected rating is `Unparsed("ambiguous_distribution")`.
    """

    def __init__(
        self,
        backend: Backend,
        protocol: JudgeProtocol,
        mode: Mode,
        *,
        decoding: Decoding | None = None,
        cache: JudgmentCache | None = None,
        window: int = 256,
        chunk: int = 8,
        lenient: bool = False,
        require_expected: bool = False,
        warnings: tuple[str, ...] = (),
    ) -> None:
        if window < 1 or chunk < 1:
            raise InputError(f"expected a window and a chunk of at least 1, got {window} and {chunk}")
        self.backend = backend
        self.protocol = protocol
        self.mode: Mode = mode
        self.decoding = decoding or protocol.decoding
        self.cache = cache
        self._window = window
        self._chunk = chunk
        self._lenient = lenient
        self._require_expected = require_expected
        self._warnings = warnings

    @cached_property
    def card(self) -> JudgeCard:
        """What identifies the judge. For an endpoint this asks the server once what it can do."""
        said = self.backend.warnings if isinstance(self.backend, _Warns) else ()
        return JudgeCard(
            name=f"{self.backend.name} ({self.mode})",
            digest=self._digest(),
            backend=type(self.backend).__name__.removesuffix("Backend").lower(),
            mode=self.mode,
            protocol=self.protocol.name,
            trained=self.backend.trained,
            compares_by=self.protocol.compare_by,
            warnings=(*self._warnings, *said),
        )

    def rate(self, items: Iterable[RateItem]) -> Iterator[Judgment]:
        """One judgment for every item, as it comes; the outcome is a `Rating` or an `Unparsed`."""
        grammar = rating_grammar(self.protocol, lenient=self._lenient, strict=self._require_expected)
        for window in _windows(items, self._window):
            questions = [rate_question(item, self.protocol, self.mode) for item in window]
            for index, reading, values, failed in self._read_all(grammar, questions):
                item = window[index]
                yield Judgment(
                    id=Judgment.rating_id(item.candidate.id),
                    prompt_id=item.prompt.id,
                    candidate_ids=(item.candidate.id,),
                    sample_values=values,
                    unparsed_samples=failed,
                    judge=self.card.digest,
                    **_said(reading),
                )

    def compare(self, items: Iterable[CompareItem], *, both_orders: bool = True) -> Iterator[Comparison]:
        """One comparison for every item, as it comes, in the item's order; asks both orders by default."""
        orders = 2 if both_orders else 1
        for window in _windows(items, max(1, self._window // orders)):
            asked = [order for item in window for order in (item, item.swap())[:orders]]
            waiting: dict[int, Judgment] = {}
            for index, judgment in self._verdicts(asked):
                waiting[index] = judgment
                first = index - index % orders
                if all(first + order in waiting for order in range(orders)):
                    mine = [waiting.pop(first + order) for order in range(orders)]
                    yield resolve(mine[0], mine[1] if both_orders else None)

    def _verdicts(self, asked: Sequence[CompareItem]) -> Iterator[tuple[int, Judgment]]:
        """The judgment of each item in the order that it names, with its position."""
        if self.protocol.compare_by == "rating":
            yield from verdicts(asked, self.rate(sides(asked)), self.card.digest)
            return
        grammar = verdict_grammar(self.protocol, lenient=self._lenient)
        questions = [compare_question(item, self.protocol, self.mode) for item in asked]
        for index, reading, _, failed in self._read_all(grammar, questions):
            yield index, self._verdict(asked[index], reading, failed)

    def _verdict(self, item: CompareItem, reading: Reading, failed: int) -> Judgment:
        return Judgment(
            id=Judgment.verdict_id(item.first.id, item.second.id),
            prompt_id=item.prompt.id,
            candidate_ids=(item.first.id, item.second.id),
            unparsed_samples=failed,
            judge=self.card.digest,
            **_said(reading),
        )

    def _read_all(
        self, grammar: Grammar, questions: Sequence[Question | None]
    ) -> Iterator[tuple[int, Reading, tuple[float, ...], int]]:
        """The reading of each question, of all its samples: (position, reading, sample ratings, failed samples)."""
        samples = 1 if self._exact else self.decoding.samples
        parts: dict[int, list[Reading]] = {}
        for index, question in enumerate(questions):
            if question is None:
                yield index, _EMPTY, (), 0
        asked = [
            (index, self._sample(grammar, question, sample))
            for index, question in enumerate(questions)
            if question is not None
            for sample in range(samples)
        ]
        for position, reading in self._read_cached(grammar, [question for _, question in asked]):
            index = asked[position][0]
            parts.setdefault(index, []).append(reading)
            if len(parts[index]) == samples:
                yield index, *combine(parts.pop(index))

    @property
    def _exact(self) -> bool:
        """Whether verdicts are read from exact distributions alone."""
        return self.mode == "direct" and self.backend.can_score

    def _sample(self, grammar: Grammar, question: Question, sample: int) -> Question:
        start = grammar.asking.answer_start if self.mode == "direct" else ""
        return replace(question, answer_start=start, answer_end=grammar.asking.answer_end, sample=sample)

    def _read_cached(self, grammar: Grammar, questions: Sequence[Question]) -> Iterator[tuple[int, Reading]]:
        """The reading of each question; equal ones are asked once, and what the cache holds is not asked."""
        positions: dict[str, list[int]] = {}
        for index, question in enumerate(questions):
            key = reading_key(self.card.digest, grammar.kind, question.content, question.sample)
            positions.setdefault(key, []).append(index)
        missing = []
        for key, same in positions.items():
            kept = self.cache.get(key) if self.cache is not None else None
            if kept is None:
                missing.append(key)
            else:
                yield from ((index, kept) for index in same)
        for index, found in self._ask(grammar, [questions[positions[key][0]] for key in missing]):
            key, reading = missing[index], insist(grammar, found)
            if self.cache is not None:
                self.cache.put(key, reading)
            yield from ((position, reading) for position in positions[key])

    def _ask(self, grammar: Grammar, questions: Sequence[Question]) -> Iterator[tuple[int, Reading]]:
        if not questions:
            return
        if self._exact:
            for index, found in self.backend.score(questions, tuple(grammar.choices)):
                yield index, read_direct(grammar, found)
        elif self.mode == "direct":
            short = self.decoding.model_copy(
                update={"max_new_tokens": min(_DIRECT_TOKENS, self.decoding.max_new_tokens)}
            )
            told = grammar.asking.direct is not None
            for index, answer in self.backend.generate(questions, short if told else self.decoding):
                yield index, read_written(grammar, questions[index], answer)[0]
        else:
            yield from self._write(grammar, questions)

    def _write(self, grammar: Grammar, questions: Sequence[Question]) -> Iterator[tuple[int, Reading]]:
        """Critiques, each with the distribution at the place of its verdict where the backend can tell it."""
        unscored: list[tuple[int, Reading, Question]] = []
        for index, answer in self.backend.generate(questions, self.decoding):
            reading, parsed = read_written(grammar, questions[index], answer)
            if parsed is None or not self.backend.can_score or not isinstance(answer, Answer):
                yield index, reading
                continue
            unscored.append((index, reading, grammar.point(questions[index], answer, parsed)))
            if len(unscored) == self._chunk:
                yield from self._score(grammar, unscored)
                unscored = []
        yield from self._score(grammar, unscored)

    def _score(
        self, grammar: Grammar, written: Sequence[tuple[int, Reading, Question]]
    ) -> Iterator[tuple[int, Reading]]:
        if not written:
            return
        for place, found in self.backend.score([question for _, _, question in written], tuple(grammar.choices)):
            index, reading, _ = written[place]
            yield index, with_distribution(grammar, reading, found)

    def _digest(self) -> str:
        parts = [self.backend.revision, self.protocol.digest, self.mode, self.decoding.model_dump_json()]
        if self._lenient:
            parts.append(LENIENT_VERSION)
        if self._require_expected and not self._exact:  # exact distributions are there anyway
            parts.append("require_expected")
        return hashlib.sha256("\n".join(parts).encode("utf-8")).hexdigest()


def _said(reading: Reading) -> dict[str, object]:
    return reading.model_dump(mode="python", exclude={"outcome"}) | {"outcome": reading.outcome}


def _windows(items: Iterable[ItemT], size: int) -> Iterator[list[ItemT]]:
    iterator = iter(items)
    while window := list(islice(iterator, size)):
        yield window
