"""What a judge and a backend are, as protocols.

A *backend* turns questions into text or into distributions and knows nothing of ratings; a *judge* renders,
asks, reads and caches. There is one judge class (`GenerativeJudge`) over several backends, so that prompts,
parsing, both orders and failure handling exist once. Anything else with these two methods is a judge too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rewards.protocol.spec import Decoding
from rewards.types import Candidate, Comparison, Judgment, Prompt, Record, Unparsed


class RateItem(Record):
    """One response to rate."""

    prompt: Prompt
    candidate: Candidate


class CompareItem(Record):
    """Two responses to the same prompt to compare, in the order in which they are named."""

    prompt: Prompt
    first: Candidate
    second: Candidate

    def swap(self) -> CompareItem:
        """The same two responses in the other order."""
        return CompareItem(prompt=self.prompt, first=self.second, second=self.first)


class JudgeCard(Record):
    """What a report and a cache must know of a judge."""

    name: str
    """For people: the model and the mode."""
    digest: str
    """Identifies weights, protocol, mode and decoding: the same digest gives the same greedy judgments."""
    backend: str
    mode: Literal["critique", "direct"]
    protocol: str
    trained: bool
    """Whether the model was trained to judge. A report says so in plain words when it was not."""
    compares_by: Literal["question", "rating"] = "question"
    """rating: its comparisons are made of two ratings, so both orders agree by construction."""
    warnings: tuple[str, ...] = ()
    """What the judge cannot do or was not made for, in plain words."""


class Judge(Protocol):
    """Rates and compares responses, giving each result as soon as it is there (in any order)."""

    @property
    def card(self) -> JudgeCard: ...

    def rate(self, items: Iterable[RateItem]) -> Iterator[Judgment]:
        """One judgment for every item; its outcome is a `Rating` or an `Unparsed`."""
        ...

    def compare(self, items: Iterable[CompareItem], *, both_orders: bool = True) -> Iterator[Comparison]:
        """One comparison for every item. With both orders, verdicts that disagree abstain."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """One rendered question to a backend."""

    content: str
    """The judge's prompt, filled in: it becomes the user turn of the judge's conversation."""
    answer_start: str = ""
    """Text that the judge's turn is made to begin with ("" leaves it free)."""
    answer_end: str = ""
    """Text that closes a choice when the question is scored; it tells "1" from the beginning of "10"."""
    query: str = ""
    """The user's query inside `content`, as the judge sees it (for scripted backends and logs)."""
    responses: tuple[str, ...] = ()
    """The one or two responses inside `content`."""
    sample: int = 0
    """Number of this sample among k samples of the same question; seeds the draw."""


@dataclass(frozen=True, slots=True)
class TokenStep:
    """One generated token with the alternatives that the backend reported."""

    token: str
    logprob: float
    top: dict[str, float]
    """Log-probability of each reported alternative, by its text."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a backend wrote."""

    text: str
    """The judge's turn, without `answer_start`."""
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    steps: tuple[TokenStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """Probabilities of whole strings as the continuation of `answer_start`."""

    probabilities: dict[str, float]
    """For every choice; sums to 1 over the choices (the distribution of constrained decoding)."""
    mass: float
    """Share of the model's probability that was on any of the choices at the first step: low means that the
    model would not have written a verdict there."""
    prompt_tokens: int | None = None


class Backend(Protocol):
    """A model that can write, and perhaps say how probable given strings are."""

    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> str:
        """Digest or version of the weights (and adapter): part of the judge's digest."""
        ...

    @property
    def trained(self) -> bool:
        """Whether the model was trained to judge."""
        ...

    @property
    def can_score(self) -> bool:
        """Whether `score` gives exact distributions over whole strings."""
        ...

    def generate(self, questions: Sequence[Question], decoding: Decoding) -> Iterator[tuple[int, Answer | Unparsed]]:
        """An answer for each question, with its position in `questions`, as soon as it is there."""
        ...

    def score(
        self, questions: Sequence[Question], choices: tuple[str, ...]
    ) -> Iterator[tuple[int, Distribution | Unparsed]]:
        """The distribution over `choices` as the text that follows `answer_start`, for each question."""
        ...
