"""What a judge wrote is counted by whether it can be read, and compared with the labels."""

from __future__ import annotations

import pytest

from judge_training.written_answers import rank_correlation, summarise, write_answers
from rewards.errors import InputError
from rewards.judges.generative import GenerativeJudge
from rewards.judges.scripted import ScriptedBackend
from rewards.protocol.builtin import builtin_protocol
from rewards.types import Unparsed
from tests.judge_training.judge_examples import pair, rating

JUDGE = builtin_protocol()


def test_answers_are_read_by_kind_and_by_their_own_example() -> None:
    examples = [rating(4), rating(6), rating(8), rating(1), pair(0), pair(1), pair(2)]
    answers = {
        "answer 4": "Rating: [[5]]",
        "answer 6": "Fine.\n\nRating: [[6]]",
        "answer 8": "Rating: [[10]]",
        "answer 1": "I would rather not say.",
        "Query 0": "Final decision: Response 1",
        "Query 1": "Final decision: Response 1",
        "Query 2": "Rating: [[7]]",
    }
    backend = ScriptedBackend(lambda question: next(said for key, said in answers.items() if key in question.content))
    found = write_answers(GenerativeJudge(backend, JUDGE, "direct"), examples, mode="direct", max_new_tokens=16)
    assert (found.asked, found.parsed, sum(found.failures.values())) == (7, 5, 2)
    assert found.parse_rate == pytest.approx(5 / 7)
    assert (found.ratings, found.rating_error, found.rank_correlation) == (3, pytest.approx(2 / 3), pytest.approx(1))
    assert (found.verdicts, found.verdicts_right) == (2, 1)
    with pytest.raises(InputError, match="expected a rating to train on"):
        waiting = rating(1).model_copy(update={"rating": None})
        write_answers(GenerativeJudge(backend, JUDGE, "direct"), [waiting], mode="direct", max_new_tokens=16)


def test_a_failed_answer_is_in_no_mean() -> None:
    failed = Unparsed(reason="no_verdict")
    found = summarise([(rating(4), 5.0), (rating(6), failed), (pair(0), failed)])
    assert (found.rating_error, found.ratings, found.failures) == (0.0, 1, {"no_verdict": 2})
    assert summarise([]).parse_rate == 0


def test_a_correlation_is_undefined_rather_than_zero() -> None:
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([3, 3, 3], [1, 2, 3]) is None
    assert rank_correlation([1, 2, 3, 4], [10, 8, 6, 1]) == pytest.approx(-1)
