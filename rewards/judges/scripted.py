"""Judges that follow a rule: for demos without a model, and the one seam at which tests replace the model.

A scripted backend answers in the protocol's real grammar, so rendering, parsing, both orders, the cache and
every count of failures behind it are the real ones. The rules are not judgments of quality, and are never a default.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rewards.errors import InputError
from rewards.judges.base import Answer, Distribution, Question
from rewards.protocol.spec import Decoding, JudgeProtocol
from rewards.protocol.write import rating_choices, verdict_choices, write_rating, write_verdict
from rewards.types import Unparsed, Winner

Reply = Callable[[Question], str | Unparsed]
Score = Callable[[Question, tuple[str, ...]], dict[str, float]]
Rule = Literal["longer", "shorter", "keyword"]


class ScriptedBackend:
    """Answers each question with `reply`; with `score`, also gives probabilities of the choices offered.

    `score` returns weights (any positive numbers) of some or all choices; what it leaves out has probability 0.
    """

    can_score: bool

    def __init__(
        self, reply: Reply, *, score: Score | None = None, name: str = "scripted", revision: str = "1"
    ) -> None:
        self._reply = reply
        self._score = score
        self.name = name
        self.revision = f"scripted:{name}:{revision}"
        self.trained = False
        self.can_score = score is not None

    def generate(self, questions: Sequence[Question], decoding: Decoding) -> Iterator[tuple[int, Answer | Unparsed]]:
        """The reply to each question, in order."""
        for index, question in enumerate(questions):
            text = self._reply(question)
            yield index, text if isinstance(text, Unparsed) else Answer(text=text, finish_reason="stop")

    def score(
        self, questions: Sequence[Question], choices: tuple[str, ...]
    ) -> Iterator[tuple[int, Distribution | Unparsed]]:
        """The script's weights of the choices, as probabilities."""
        if self._score is None:
            raise InputError("expected a scripted backend with a score function, got one that only writes")
        for index, question in enumerate(questions):
            weights = self._score(question, choices)
            total = sum(weights.get(choice, 0.0) for choice in choices)
            shares = {choice: weights.get(choice, 0.0) / total for choice in choices} if total > 0 else {}
            yield index, Distribution(shares, mass=1.0) if shares else Unparsed(reason="no_verdict")


def rule_backend(rule: Rule, protocol: JudgeProtocol) -> ScriptedBackend:
    """A scripted backend that prefers longer or shorter responses, or those that take up more of the query's words."""
    script = _Script(rule, protocol)
    return ScriptedBackend(script.reply, score=script.score, name=f"rule-{rule}", revision=f"1:{protocol.digest}")


@dataclass(frozen=True, slots=True)
class _Script:
    rule: Rule
    protocol: JudgeProtocol

    def reply(self, question: Question) -> str:
        shares = [self._share(question.query, response) for response in question.responses]
        if len(shares) == 1:
            rating = min(rating_choices(self.protocol).values(), key=lambda value: abs(value - self._point(shares[0])))
            return write_rating(f"{self._says(question, 0)}.", rating, self.protocol)
        winner: Winner = "tie" if shares[0] == shares[1] else "first" if shares[0] > shares[1] else "second"
        labels = self.protocol.labels
        critique = f"{labels.first}: {self._says(question, 0)}.\n{labels.second}: {self._says(question, 1)}."
        return write_verdict(critique, winner, self.protocol)

    def score(self, question: Question, choices: tuple[str, ...]) -> dict[str, float]:
        shares = [self._share(question.query, response) for response in question.responses]
        if len(shares) == 1:
            point, width = self._point(shares[0]), float(self.protocol.scale.step)
            return {c: math.exp(-(((v - point) / width) ** 2)) for c, v in rating_choices(self.protocol).items()}
        lead = 6.0 * (shares[0] - shares[1])
        weights: dict[Winner, float] = {"first": math.exp(lead), "second": math.exp(-lead), "tie": 0.7}
        return {choice: weights[winner] for choice, winner in verdict_choices(self.protocol).items()}

    def _share(self, query: str, response: str) -> float:
        """How much of what the rule looks for a response has, 0 to 1."""
        if self.rule == "keyword":
            wanted = _words(query)
            return len(wanted & _words(response)) / len(wanted) if wanted else 0.5
        length = 1.0 - math.exp(-len(response) / 400.0)
        return length if self.rule == "longer" else 1.0 - length

    def _point(self, share: float) -> float:
        low, high = float(self.protocol.scale.low), float(self.protocol.scale.high)
        return low + share * (high - low)

    def _says(self, question: Question, index: int) -> str:
        response = question.responses[index]
        if self.rule != "keyword":
            return f"{len(response)} characters long, and {self.rule} is taken as better"
        wanted = _words(question.query)
        return f"takes up {len(wanted & _words(response))} of the {len(wanted)} longer words of the query"


def _words(text: str) -> frozenset[str]:
    return frozenset(word for word in re.findall(r"\w+", text.lower()) if len(word) > 3)
