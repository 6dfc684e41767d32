"""From what a backend said to what is known of one question, and from several samples to one outcome.

Design decisions. The *written* verdict is the parser's; the *expected* rating comes from a distribution over whole
rating strings at the point where the verdict stands, and is left out when there is none. Where the model put less
than `MINIMUM_MASS` on any verdict, the distribution says nothing about the response: direct mode then has no rating
at all, and critique mode keeps what was written without an expected rating. A grammar that is `strict` has no use for
that: there a rating without an expected one is `Unparsed`, so that the rewards of a run are all of one kind.

Nothing here asks a backend or stores anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from rewards.errors import InputError
from rewards.judges.base import Answer, Distribution, Question
from rewards.judges.cache import Kind, Reading
from rewards.judges.rivals.lenient import read_rating, read_verdict
from rewards.judges.token_path import path_distribution
from rewards.protocol.parse import ParsedRating, ParsedVerdict, parse_rating, parse_verdict
from rewards.protocol.spec import Asking, JudgeProtocol
from rewards.protocol.write import rating_choices, verdict_choices
from rewards.types import TRANSIENT_REASONS, Rating, Unparsed, Verdict, VerdictProbabilities, Winner

MINIMUM_MASS = 1e-4
"""Below this share of probability on any verdict, a constrained distribution is noise."""

Parsed = ParsedRating | ParsedVerdict


@dataclass(frozen=True, slots=True)
class Grammar:
    """One kind of question: how its verdicts are written, read and turned into an outcome."""

    kind: Kind
    asking: Asking
    choices: dict[str, float] | dict[str, Winner]
    """Each verdict as the text between `answer_start` and `answer_end`."""
    parse: Callable[[str, Literal["stop", "length"]], Parsed | Unparsed]
    lenient: Callable[[str, str, Literal["stop", "length"]], Parsed | Unparsed] | None = None
    """Reads an answer (with its question) in place of `parse`, for models that were not taught the grammar."""
    strict: bool = False
    """Whether a rating without an expected rating is no rating."""

    @property
    def gap(self) -> str:
        """The space that every choice begins with, or ""."""
        return " " if all(choice.startswith(" ") for choice in self.choices) else ""

    def outcome(self, shares: dict[str, float]) -> Rating | Verdict:
        """The outcome of a distribution over the choices: the most probable one, and what is expected."""
        if self.kind == "rate":
            values = {choice: float(value) for choice, value in self.choices.items() if not isinstance(value, str)}
            return _rating({choice.strip(): (values[choice], share) for choice, share in shares.items()})
        winners: dict[Winner, float] = {}
        for choice, winner in self.choices.items():
            if isinstance(winner, str):
                winners[winner] = shares.get(choice, 0.0)
        return _verdict(winners)

    def point(self, question: Question, answer: Answer, parsed: Parsed) -> Question:
        """The question that reads the distribution where the verdict stands in a written answer."""
        said = question.answer_start + answer.text
        before = said[: parsed.start]
        return replace(question, answer_start=before.removesuffix(self.gap) if self.gap else before)


def rating_grammar(protocol: JudgeProtocol, *, lenient: bool = False, strict: bool = False) -> Grammar:
    """How ratings are written and read (leniently: `rewards.judges.rivals.lenient`; strict: see `Grammar`)."""
    return Grammar(
        kind="rate",
        asking=protocol.single,
        choices=rating_choices(protocol),
        parse=lambda text, finish: parse_rating(text, scale=protocol.scale, finish_reason=finish),
        lenient=partial(read_rating, scale=protocol.scale) if lenient else None,
        strict=strict,
    )


def verdict_grammar(protocol: JudgeProtocol, *, lenient: bool = False) -> Grammar:
    """How verdicts are written and read; raises InputError when the protocol only rates."""
    if protocol.pairwise is None:
        raise InputError(f"expected a protocol with a pairwise question, got {protocol.name!r}, which only rates")
    return Grammar(
        kind="compare",
        asking=protocol.pairwise,
        choices=verdict_choices(protocol),
        parse=lambda text, finish: parse_verdict(text, labels=protocol.labels, finish_reason=finish),
        lenient=partial(read_verdict, labels=protocol.labels) if lenient else None,
    )


def read_written(grammar: Grammar, question: Question, answer: Answer | Unparsed) -> tuple[Reading, Parsed | None]:
    """What was written, with the distribution along its path where the backend reported alternatives."""
    if isinstance(answer, Unparsed):
        return Reading(outcome=answer), None
    said = question.answer_start + answer.text
    parsed = exact = grammar.parse(said, answer.finish_reason)
    if grammar.lenient is not None:
        parsed = grammar.lenient(said, question.content, answer.finish_reason)
    outcome = parsed if isinstance(parsed, Unparsed) else _written(parsed)
    reading = Reading(
        outcome=outcome, critique=answer.text, prompt_tokens=answer.prompt_tokens, new_tokens=answer.new_tokens
    )
    if isinstance(parsed, Unparsed) or parsed != exact:  # only the grammar's own form has a distribution
        return reading, None
    start = parsed.start - len(question.answer_start)
    if answer.steps and start >= len(grammar.gap):
        gap = grammar.gap if answer.text[:start].endswith(grammar.gap) else ""
        end = grammar.asking.answer_end
        choices = {gap + choice.removeprefix(grammar.gap) + end: choice for choice in grammar.choices}
        found = path_distribution(answer.steps, start - len(gap), tuple(choices))
        if isinstance(found, Distribution):
            renamed = {choices[text]: share for text, share in found.probabilities.items()}
            reading = with_distribution(grammar, reading, Distribution(renamed, found.mass))
        else:
            reading = with_distribution(grammar, reading, found)
    return reading, parsed


def read_direct(grammar: Grammar, found: Distribution | Unparsed) -> Reading:
    """The outcome of the distribution at `answer_start`; too little mass on any verdict is no verdict."""
    if isinstance(found, Unparsed):
        return Reading(outcome=found)
    if found.mass < MINIMUM_MASS:
        detail = f"expected a verdict next, but the model gave it a probability of {found.mass:.2g}"
        outcome: Rating | Verdict | Unparsed = Unparsed(reason="no_verdict", detail=detail)
    else:
        outcome = grammar.outcome(found.probabilities)
    return Reading(outcome=outcome, mass=found.mass, prompt_tokens=found.prompt_tokens)


def with_distribution(grammar: Grammar, reading: Reading, found: Distribution | Unparsed) -> Reading:
    """A written outcome with what is expected by the distribution at its place, where that says something.

    A distribution that failed for a passing reason takes the outcome with it: the judgment is asked again on
    resuming, rather than kept for good with a rating of another kind than its neighbours'.
    """
    if isinstance(found, Unparsed):
        replaces = found.reason in TRANSIENT_REASONS or (grammar.strict and isinstance(reading.outcome, Rating))
        return reading.model_copy(update={"outcome": found}) if replaces else reading
    weighed, mass = grammar.outcome(found.probabilities), {"mass": found.mass}
    if found.mass < MINIMUM_MASS:
        return reading.model_copy(update=mass)
    written = reading.outcome
    if isinstance(written, Rating) and isinstance(weighed, Rating):
        return reading.model_copy(update={"outcome": weighed.model_copy(update={"value": written.value}), **mass})
    if isinstance(written, Verdict) and isinstance(weighed, Verdict):
        return reading.model_copy(update={"outcome": weighed.model_copy(update={"winner": written.winner}), **mass})
    return reading


def insist(grammar: Grammar, reading: Reading) -> Reading:
    """The reading; of a strict grammar, `Unparsed` in place of a rating that no distribution stands behind."""
    if not grammar.strict or not isinstance(reading.outcome, Rating) or reading.outcome.expected is not None:
        return reading
    told = (
        "nothing was reported there" if reading.mass is None else f"any rating had a probability of {reading.mass:.2g}"
    )
    detail = f"expected the probabilities of whole ratings where {reading.outcome.value:g} was written, but {told}"
    return reading.model_copy(update={"outcome": Unparsed(reason="ambiguous_distribution", detail=detail)})


def _written(parsed: Parsed) -> Rating | Verdict:
    return Rating(value=parsed.value) if isinstance(parsed, ParsedRating) else Verdict(winner=parsed.winner)


def _rating(shares: dict[str, tuple[float, float]]) -> Rating:
    """A rating from {string: (value, share)}; of equally probable ratings the lower is the mode."""
    total = sum(share for _, share in shares.values())
    expected = sum(value * share for value, share in shares.values()) / total
    variance = sum((value - expected) ** 2 * share for value, share in shares.values()) / total
    mode = max(shares.values(), key=lambda one: (one[1], -one[0]))[0]
    probabilities = {text: share / total for text, (_, share) in shares.items()}
    return Rating(value=mode, expected=expected, variance=variance, probabilities=probabilities)


def _verdict(shares: dict[Winner, float]) -> Verdict:
    total = sum(shares.values())
    first, second, tie = (shares.get(name, 0.0) / total for name in ("first", "second", "tie"))
    return Verdict(
        winner=_most({"first": first, "second": second, "tie": tie}),
        probabilities=VerdictProbabilities(first=first, second=second, tie=tie),
    )


def _most(shares: dict[Winner, float]) -> Winner:
    """The verdict with the largest share; a tie when several have it."""
    best = max(shares.values())
    winners = [winner for winner, share in shares.items() if share == best]
    return winners[0] if len(winners) == 1 else "tie"


# Several samples of one question


def combine(samples: Sequence[Reading]) -> tuple[Reading, tuple[float, ...], int]:
    """One reading of k samples, the ratings of those that could be read, and how many could not.

    The rating is the most frequent one (of equally frequent ones the lower, so that a split judge gives no benefit
    of the doubt), its expectation the mean of the samples' scores, its variance the mean variance within samples plus
    the variance between them. The verdict is the most frequent one, a tie when several are. When no sample could be
    read, the outcome is the commonest reason.
    """
    if len(samples) == 1:
        return samples[0], (), 0
    ratings = [one.outcome for one in samples if isinstance(one.outcome, Rating)]
    verdicts = [one.outcome for one in samples if isinstance(one.outcome, Verdict)]
    failed = len(samples) - len(ratings) - len(verdicts)
    outcome: Rating | Verdict | Unparsed
    if ratings:
        outcome = _mean_rating(ratings)
        critique = next(one.critique for one in samples if _gives(one, outcome))
    elif verdicts:
        outcome = _mean_verdict(verdicts)
        critique = next((one.critique for one in samples if _gives(one, outcome)), samples[0].critique)
    else:
        outcome = _no_sample([one.outcome for one in samples if isinstance(one.outcome, Unparsed)])
        critique = samples[0].critique
    masses = [one.mass for one in samples if one.mass is not None]
    reading = Reading(
        outcome=outcome,
        critique=critique,
        mass=sum(masses) / len(masses) if masses else None,
        prompt_tokens=_sum([one.prompt_tokens for one in samples]),
        new_tokens=_sum([one.new_tokens for one in samples]),
    )
    return reading, tuple(rating.value for rating in ratings), failed


def _gives(reading: Reading, outcome: Rating | Verdict) -> bool:
    if isinstance(outcome, Rating):
        return isinstance(reading.outcome, Rating) and reading.outcome.value == outcome.value
    return isinstance(reading.outcome, Verdict) and reading.outcome.winner == outcome.winner


def _mean_rating(ratings: list[Rating]) -> Rating:
    votes = Counter(rating.value for rating in ratings)
    value = min(votes, key=lambda one: (-votes[one], one))
    expected = sum(rating.score for rating in ratings) / len(ratings)
    within = sum(rating.variance or 0.0 for rating in ratings) / len(ratings)
    between = sum((rating.score - expected) ** 2 for rating in ratings) / len(ratings)
    return Rating(value=value, expected=expected, variance=within + between, probabilities=_mean_shares(ratings))


def _mean_shares(ratings: list[Rating]) -> dict[str, float] | None:
    """Mean of the samples' distributions, or None when a sample has none."""
    mean: dict[str, float] = {}
    for rating in ratings:
        if rating.probabilities is None:
            return None
        for text, share in rating.probabilities.items():
            mean[text] = mean.get(text, 0.0) + share / len(ratings)
    return mean


def _mean_verdict(verdicts: list[Verdict]) -> Verdict:
    votes: dict[Winner, float] = {"first": 0.0, "second": 0.0, "tie": 0.0}
    mean = dict(votes)
    for verdict in verdicts:
        votes[verdict.winner] += 1.0
        own = verdict.probabilities
        mean["first"] += own.first if own else float(verdict.winner == "first")
        mean["second"] += own.second if own else float(verdict.winner == "second")
        mean["tie"] += own.tie if own else float(verdict.winner == "tie")
    return _verdict(mean).model_copy(update={"winner": _most(votes)})


def _no_sample(outcomes: list[Unparsed]) -> Unparsed:
    reason, count = Counter(outcome.reason for outcome in outcomes).most_common(1)[0]
    return Unparsed(reason=reason, detail=f"none of {len(outcomes)} samples could be read, {count} of them {reason}")


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
