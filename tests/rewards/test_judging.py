from collections.abc import Callable
from pathlib import Path

import pytest

from rewards.errors import FailureBudgetError
from rewards.jsonl import read_records
from rewards.judges.base import CompareItem, Question, RateItem
from rewards.judges.generative import GenerativeJudge
from rewards.judges.scripted import ScriptedBackend
from rewards.judging import compare_to_file, rate_to_file
from rewards.protocol.builtin import builtin_protocol
from rewards.types import Candidate, Comparison, Judgment, Message, Prompt, Unparsed


def items(n: int) -> list[RateItem]:
    prompt = Prompt(id="p", messages=(Message(role="user", content="q"),))
    return [
        RateItem(prompt=prompt, candidate=Candidate(id=f"p/{i}", prompt_id="p", text=f"answer {i}", index=i))
        for i in range(n)
    ]


class Counting:
    """A judge that counts what it is asked."""

    def __init__(self, reply: Callable[[Question], str | Unparsed]) -> None:
        self.asked: list[str] = []

        def counted(question: Question) -> str | Unparsed:
            self.asked.append("|".join(question.responses))
            return reply(question)

        self.judge = GenerativeJudge(ScriptedBackend(counted), builtin_protocol(), "critique")


def test_started_again_it_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    first, again = Counting(lambda _: "Rating: [[5]]"), Counting(lambda _: "Rating: [[7]]")
    rate_to_file(first.judge, items(3), path)
    judgments = rate_to_file(again.judge, items(5), path)
    assert again.asked == ["answer 3", "answer 4"]
    assert [one.candidate_ids[0] for one in judgments] == [f"p/{i}" for i in range(5)]
    assert [one.outcome.value for one in judgments if one.outcome.kind == "rating"] == [5, 5, 5, 7, 7]


def test_what_a_dead_server_left_out_is_asked_again_and_what_was_read_is_not(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    broken = Counting(lambda q: Unparsed(reason="timeout") if q.responses[0].endswith("1") else "Rating: [[5]]")
    rate_to_file(broken.judge, items(3), path, limit=1.0)
    healed = Counting(lambda _: "Rating: [[6]]")
    judgments = rate_to_file(healed.judge, items(3), path)
    assert healed.asked == ["answer 1"]
    assert {one.outcome.kind for one in judgments} == {"rating"}
    assert len(list(read_records(path, Judgment))) == 3


def test_mistake_01_too_many_failures_stop_the_job_and_keep_what_was_judged(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    garbage = Counting(lambda q: "Rating: [[5]]" if q.responses[0] == "answer 0" else "no idea")
    with pytest.raises(FailureBudgetError, match=r"at most 5% of judgments to fail"):
        rate_to_file(garbage.judge, items(200), path, minimum=20)
    kept = list(read_records(path, Judgment))
    assert 20 <= len(kept) < 200
    with pytest.raises(FailureBudgetError):
        rate_to_file(Counting(lambda _: "Rating: [[5]]").judge, items(21), path, minimum=20)


def test_comparisons_are_kept_with_both_orders(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    rated = items(2)
    pair = CompareItem(prompt=rated[0].prompt, first=rated[0].candidate, second=rated[1].candidate)
    judge = Counting(lambda q: f"Final decision: Response {1 + q.responses.index('answer 1')}")
    compare_to_file(judge.judge, [pair], path)
    assert judge.asked == ["answer 0|answer 1", "answer 1|answer 0"]
    again = Counting(lambda _: "never")
    (comparison,) = compare_to_file(again.judge, [pair], path)
    assert not again.asked
    assert comparison.outcome.kind == "verdict"
    assert comparison.outcome.winner == "second"
    assert len(next(iter(read_records(path, Comparison))).judgments) == 2
