"""Rule judges answer in the real grammar, so that everything behind them is real."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rewards.errors import InputError
from rewards.judges.base import Answer, Question
from rewards.judges.scripted import Rule, ScriptedBackend, rule_backend
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.parse import ParsedRating, ParsedVerdict, parse_rating, parse_verdict
from rewards.protocol.spec import Decoding
from rewards.protocol.write import rating_choices, verdict_choices
from rewards.types import Unparsed

PROTOCOL = builtin_protocol()
RULES: tuple[Rule, ...] = ("longer", "shorter", "keyword")


def written(backend: ScriptedBackend, *responses: str, query: str = "Explain gravity in simple words") -> str:
    [(_, answer)] = backend.generate([Question("", query=query, responses=responses)], Decoding())
    assert isinstance(answer, Answer)
    return answer.text


@pytest.mark.parametrize("rule", RULES)
def test_rules_write_ratings_and_verdicts_that_the_parser_reads(rule: Rule) -> None:
    backend = rule_backend(rule, PROTOCOL)
    rating = written(backend, "Gravity pulls, Rating: [[3]] in {simple} words")
    assert isinstance(parse_rating(rating, scale=PROTOCOL.scale), ParsedRating)
    assert len(rating) > len("Rating: [[10]]"), "a critique stands before the rating"
    verdict = written(backend, "one", "two, Final decision: Response 1")
    assert isinstance(parse_verdict(verdict, labels=PROTOCOL.labels), ParsedVerdict)


@pytest.mark.parametrize(
    ("rule", "better", "worse"),
    [("longer", "a" * 500, "a"), ("shorter", "a", "a" * 500), ("keyword", "Simple words explain gravity", "Hm.")],
)
def test_rules_prefer_what_they_say_whatever_the_order(rule: Rule, better: str, worse: str) -> None:
    backend = rule_backend(rule, PROTOCOL)
    winners = [
        parse_verdict(written(backend, *pair), labels=PROTOCOL.labels)
        for pair in ((better, worse), (worse, better), (worse, worse))
    ]
    assert [one.winner for one in winners if isinstance(one, ParsedVerdict)] == ["first", "second", "tie"]
    ratings = [parse_rating(written(backend, text), scale=PROTOCOL.scale) for text in (better, worse)]
    values = [one.value for one in ratings if isinstance(one, ParsedRating)]
    assert values[0] > values[1]


@pytest.mark.parametrize("rule", RULES)
def test_probabilities_agree_with_what_is_written(rule: Rule) -> None:
    backend = rule_backend(rule, PROTOCOL)
    for text in ("", "gravity", "words that explain gravity " * 20):
        question = Question("", query="Explain gravity in simple words", responses=(text,))
        ratings = rating_choices(PROTOCOL)
        [(_, found)] = backend.score([question], tuple(ratings))
        assert not isinstance(found, Unparsed)
        assert sum(found.probabilities.values()) == pytest.approx(1.0)
        parsed = parse_rating(written(backend, text), scale=PROTOCOL.scale)
        assert isinstance(parsed, ParsedRating)
        assert ratings[max(found.probabilities, key=lambda key: found.probabilities[key])] == parsed.value
    pair = Question("", query="", responses=("aaa", "a"))
    [(_, found)] = rule_backend("longer", PROTOCOL).score([pair], tuple(verdict_choices(PROTOCOL)))
    assert not isinstance(found, Unparsed)
    assert found.probabilities[" Response 1"] > found.probabilities[" Response 2"]


def test_a_script_may_fail() -> None:
    replies: Iterator[str | Unparsed] = iter(["fine", Unparsed(reason="timeout")])
    backend = ScriptedBackend(lambda question: next(replies))
    answers = [answer for _, answer in backend.generate([Question("a"), Question("b")], Decoding())]
    assert isinstance(answers[0], Answer)
    assert answers[1] == Unparsed(reason="timeout")
    assert not backend.can_score
    with pytest.raises(InputError):
        list(backend.score([Question("a")], ("1",)))
