"""How a judge answers in writing: how many of its answers can be read, and how near they are to the labels.

Meant to be asked of the same examples before and after training. Nothing is constrained here: in direct mode a
judge is usually read from exact probabilities and then always gives a verdict, so only its free writing shows whether
it has learned the form of an answer. An answer that cannot be read counts as such and in no mean.
This is no meta-evaluation: for agreement in both orders and with people see `judge_training.meta_evaluation`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from judge_training.examples import JudgeExample, training_text
from judge_training.scenarios.catalog import Catalog
from rewards.judges.base import Answer, Question
from rewards.judges.generative import GenerativeJudge
from rewards.protocol.parse import ParsedRating, ParsedVerdict, parse_rating, parse_verdict
from rewards.protocol.render import Mode
from rewards.protocol.spec import JudgeProtocol
from rewards.types import Record, Unparsed, Winner


class WrittenAnswers(Record):
    """What a judge wrote to labelled examples."""

    asked: int
    parsed: int
    """Answers with a verdict that could be read."""
    failures: dict[str, int] = Field(default_factory=dict)
    """The others, by reason."""
    ratings: int = 0
    """Readable ratings of one response."""
    rating_error: float | None = None
    """Mean absolute difference of rating and label."""
    rank_correlation: float | None = None
    """Spearman's correlation of ratings and labels; None with fewer than three, or where one side is constant."""
    verdicts: int = 0
    """Readable verdicts on two responses."""
    verdicts_right: int = 0
    """Those that are the label."""

    @property
    def parse_rate(self) -> float:
        """Share of answers that could be read."""
        return self.parsed / self.asked if self.asked else 0.0


def write_answers(
    judge: GenerativeJudge,
    examples: Sequence[JudgeExample],
    *,
    mode: Mode,
    max_new_tokens: int,
    catalog: Catalog | None = None,
) -> WrittenAnswers:
    """Let the judge answer every example's question in writing, greedily, and compare with the labels.

    With a catalog the question comes after the scenario's criteria, as for a judge that was trained so.

    Raises InputError for an example that is not judged, and what the judge's backend raises.
    """
    questions = written_questions(examples, judge.protocol, mode=mode, catalog=catalog)
    decoding = judge.protocol.decoding.model_copy(
        update={"max_new_tokens": max_new_tokens, "temperature": 0.0, "samples": 1}
    )
    outcomes: list[tuple[JudgeExample, float | Winner | Unparsed]] = [
        (examples[position], _read(examples[position], answer, judge.protocol))
        for position, answer in judge.backend.generate(questions, decoding)
    ]
    return summarise(outcomes)


def written_questions(
    examples: Sequence[JudgeExample], protocol: JudgeProtocol, *, mode: Mode, catalog: Catalog | None = None
) -> list[Question]:
    """What is asked about each example; raises as `training_text` does."""
    texts = [training_text(example, protocol, mode=mode, catalog=catalog) for example in examples]
    return [
        Question(content=text.prompt, responses=tuple(example.responses))
        for text, example in zip(texts, examples, strict=True)
    ]


def _read(example: JudgeExample, answer: Answer | Unparsed, protocol: JudgeProtocol) -> float | Winner | Unparsed:
    if isinstance(answer, Unparsed):
        return answer
    parsed: ParsedRating | ParsedVerdict | Unparsed
    if example.kind == "single":
        parsed = parse_rating(answer.text, scale=protocol.scale, finish_reason=answer.finish_reason)
    else:
        parsed = parse_verdict(answer.text, labels=protocol.labels, finish_reason=answer.finish_reason)
    if isinstance(parsed, ParsedRating):
        return parsed.value
    return parsed.winner if isinstance(parsed, ParsedVerdict) else parsed


def summarise(outcomes: Sequence[tuple[JudgeExample, float | Winner | Unparsed]]) -> WrittenAnswers:
    """Count answers to examples."""
    failures = Counter(said.reason for _, said in outcomes if isinstance(said, Unparsed))
    rated = [(said, one.rating) for one, said in outcomes if isinstance(said, float) and one.rating is not None]
    verdicts = [(said, one.label) for one, said in outcomes if isinstance(said, str)]
    return WrittenAnswers(
        asked=len(outcomes),
        parsed=len(outcomes) - failures.total(),
        failures=dict(failures),
        ratings=len(rated),
        rating_error=sum(abs(said - label) for said, label in rated) / len(rated) if rated else None,
        rank_correlation=rank_correlation([said for said, _ in rated], [label for _, label in rated]),
        verdicts=len(verdicts),
        verdicts_right=sum(said == label for said, label in verdicts),
    )


def rank_correlation(said: Sequence[float], labels: Sequence[float]) -> float | None:
    """Spearman's rank correlation, None where it is not defined."""
    if len(said) < 3 or len(set(said)) < 2 or len(set(labels)) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(said, labels).statistic)
