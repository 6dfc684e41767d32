"""Eval-C: the released comparisons, the reading of decisions, and a judge asked now in both orders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from judge_training.eval_c import (
    EvalC,
    compare_items,
    critique_question,
    evaluate_eval_c,
    read_comparisons,
    read_critiques,
    read_decision,
    read_eval_c,
)
from judge_training.sheets import eval_c_sheet
from rewards.errors import InputError, MissingFileError
from rewards.intervals import Interval
from rewards.judges.generative import GenerativeJudge
from rewards.judges.scripted import ScriptedBackend
from rewards.judging import compare_to_file
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.write import write_verdict
from rewards.types import Winner

A, B, C = (
    f"{letter}: {what} significantly better."
    for letter, what in zip("ABC", ("Feedback 1 is", "Feedback 2 is", "Neither is"), strict=True)
)


def percent(share: Interval | None) -> float:
    assert share is not None
    assert share.low <= share.value <= share.high
    return round(100 * share.value, 2)


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def data_file(folder: Path, n: int, scenarios: tuple[str, ...] = ("planning", "chitchat")) -> Path:
    rows = [
        {
            "scenario": scenarios[i % len(scenarios)],
            "prompt": f"q{i}",
            "response": f"r{i}",
            "critiques": {"autoj": f"A longer critique, number {i}."},
        }
        for i in range(n)
    ]
    lines(folder / "reference_chatgpt_critique.jsonl", [{"output": f"short {i}"} for i in range(n)])
    return lines(folder / "testdata_critique.jsonl", rows)


def measured(folder: Path, data: Path, comparisons: list[dict]) -> EvalC:
    rows = read_eval_c(data)
    first = read_critiques(rows, "autoj")
    second = read_critiques(rows, str(folder / "reference_chatgpt_critique.jsonl"))
    path = lines(folder / "comparisons.jsonl", comparisons)
    return evaluate_eval_c(read_comparisons(rows, path, first, second), first="autoj", second="chatgpt")


@pytest.mark.shared_data
def test_the_released_comparisons_give_the_published_win_rate(shared_data: Path) -> None:
    folder = shared_data / "auto-j" / "data"
    rows = read_eval_c(folder / "test" / "testdata_critique.jsonl")
    first = read_critiques(rows, "autoj")
    second = read_critiques(rows, str(folder / "test" / "reference_chatgpt_critique.jsonl"))
    path = folder / "outputs" / "gpt-4-Eval_auto-j_vs_chatgpt.jsonl"
    result = evaluate_eval_c(read_comparisons(rows, path, first, second), first="autoj", second="chatgpt")
    assert percent(result.win_rate) == 73.71
    assert (result.n, result.wins, result.losses, result.ties, result.unread) == (232, 171, 56, 5, 0)
    assert {one.name: percent(one.win_rate) for one in result.groups} == {
        "Summarization": 100.0,
        "Exam Questions": 83.33,
        "Code": 80.0,
        "Rewriting": 70.0,
        "Creative Writing": 72.22,
        "Functional Writing": 55.0,
        "General Communication": 75.0,
        "NLP Tasks": 79.55,
    }
    assert [one.n for one in result.scenarios] == [4] * 58
    # AUTO-J's critique is nearly always the longer one: the floor that a win rate must be read against.
    assert percent(result.first_longer) == 95.26
    assert percent(result.first_shown_preferred) == 40.97
    assert eval_c_sheet(result).headline["win_rate"] == 73.71


@pytest.mark.parametrize(
    ("text", "winner"),
    [
        ("A: Feedback 1 is significantly better.\n\nReason: Feedback 2 is better in places, no.", "first"),
        ("B: Feedback 2 is slightly better.", "second"),
        ("C: Neither is significantly better.", "tie"),
        ("**B: Feedback 2 is significantly better.**", "second"),
        ("b) feedback 2 is SIGNIFICANTLY better", "second"),
        ("Feedback 1 is better", "first"),
        ("A", "first"),
        ("(C)", "tie"),
        ("Both are equally good.", "tie"),
        ("Reason: one is specific.\nDecision: A: Feedback 1 is significantly better.", "first"),
        ("A: Feedback 1 is significantly better.\nA: Feedback 1 is significantly better.", "first"),
        # Not decisions:
        ("A: Feedback 2 is significantly better.", None),
        ("A: Feedback 1 is significantly better.\nB: Feedback 2 is significantly better.", None),
        ("I think that Feedback 1 is better structured than most.", None),
        ("A good question. B is the better.", None),
        ("Feedback 12 is better", None),
        ("", None),
    ],
)
def test_decisions_are_read_leniently_and_checked(text: str, winner: Winner | None) -> None:
    assert read_decision(text) == winner


def test_mistake_06_a_feedback_named_in_the_reason_is_no_decision() -> None:
    assert read_decision("C: Neither is significantly better.\n\nReason: Some say Feedback 2 is better.") == "tie"
    assert read_decision("Reason: while Feedback 1 is better organised, it is wrong.") is None


def test_mistake_04_an_exchanged_comparison_is_swapped_back(tmp_path: Path) -> None:
    data = data_file(tmp_path, 4)
    rows = [
        {"output": A, "meta": {"exchange": False}},  # autoj shown first, and wins
        {"output": B, "meta": {"exchange": True}},  # autoj shown second, and wins
        {"output": A, "meta": {"exchange": True}},  # autoj shown second, and loses
        {"output": C, "meta": {"exchange": True}},
    ]
    result = measured(tmp_path, data, rows)
    assert (result.wins, result.losses, result.ties) == (2, 1, 1)
    assert percent(result.first_shown_preferred) == 66.67  # the critique shown first won in two of three
    assert percent(result.decided_win_rate) == 66.67
    assert percent(result.longer_preferred) == 66.67


def test_mistake_01_an_answer_that_cannot_be_read_is_counted_and_is_no_tie(tmp_path: Path) -> None:
    rows = [{"output": "I cannot say.", "meta": {"exchange": False}}, {"output": A, "meta": {"exchange": False}}]
    result = measured(tmp_path, data_file(tmp_path, 2), rows)
    assert (result.unread, result.ties, result.abstained, result.wins) == (1, 0, 0, 1)
    assert percent(result.win_rate) == 50.0
    assert percent(result.tie_rate) == 0.0


def test_files_with_ids_go_by_id(tmp_path: Path) -> None:
    data = data_file(tmp_path, 3)
    rows = [
        {"output": out, "meta": {"exchange": False}, "id": f"eval-c-000{n}"} for n, out in ((3, A), (1, B), (2, A))
    ]
    by_id = measured(tmp_path, data, rows)
    by_line = measured(
        tmp_path, data, [{k: v for k, v in row.items() if k != "id"} for row in (rows[1], rows[2], rows[0])]
    )
    assert by_id == by_line
    assert [(one.name, one.n, percent(one.win_rate)) for one in by_id.scenarios] == [
        ("planning", 2, 50.0),
        ("chitchat", 1, 100.0),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"output": A, "meta": {"exchange": False}}], "one line for each of the 2 responses of the data, got 1"),
        ([{"output": A, "meta": {"exchange": False}}, {"output": A, "meta": {}}], "line 2: expected meta.exchange"),
        ([{"output": A, "meta": {"exchange": 1}}] * 2, "line 1: expected meta.exchange"),
        ([{"output": 3, "meta": {"exchange": True}}] * 2, "line 1: 'output': expected text"),
        ([{"output": A, "meta": {"exchange": True}, "id": "x"}] * 2, "line 1: expected the id of a response"),
        ([{"output": A, "meta": {"exchange": True}, "id": "eval-c-0001"}] * 2, "line 2: expected an id of its own"),
    ],
)
def test_bad_comparisons(tmp_path: Path, rows: list[dict], message: str) -> None:
    with pytest.raises(InputError, match=message):
        measured(tmp_path, data_file(tmp_path, 2), rows)


def test_bad_data_and_sources(tmp_path: Path) -> None:
    good = {"scenario": "chitchat", "prompt": "q", "response": "r", "critiques": {"autoj": "c"}}
    for change, message in (
        ({"response": None}, "line 1: 'response': expected text"),
        ({"scenario": "no such"}, "no such"),
        ({"critiques": ["c"]}, "expected critiques by their writer"),
    ):
        with pytest.raises(InputError, match=message):
            read_eval_c(lines(tmp_path / "data.jsonl", [good | change]))
    with pytest.raises(MissingFileError):
        read_eval_c(tmp_path / "nowhere.jsonl")
    with pytest.raises(InputError, match="empty file"):
        read_eval_c(lines(tmp_path / "data.jsonl", []))
    rows = read_eval_c(lines(tmp_path / "data.jsonl", [good, good]))
    with pytest.raises(InputError, match=r"expected a source of critiques \(autoj\)"):
        read_critiques(rows, "autoi")
    with pytest.raises(InputError, match="one line for each of the 2 responses"):
        read_critiques(rows, str(lines(tmp_path / "one.jsonl", [{"output": "c"}])))


def test_mistake_08_braces_and_fences_in_texts_are_just_text() -> None:
    query, response = "say {response} and {{response}}", "{{query}} {{fence}}\n=====\n"
    question = critique_question(query, response)
    assert question.count(query) == 1
    assert question.count(response) == 1


def judge(verdict: Winner) -> GenerativeJudge:
    """A judge that names the same place whichever critique stands there, or a tie."""
    protocol = builtin_protocol()
    return GenerativeJudge(
        ScriptedBackend(lambda question: write_verdict("Well.", verdict, protocol)), protocol, "critique"
    )


def longer_judge() -> GenerativeJudge:
    protocol = builtin_protocol()

    def reply(question):
        first, second = map(len, question.responses)
        return write_verdict("Longer.", "first" if first > second else "second", protocol)

    return GenerativeJudge(ScriptedBackend(reply), protocol, "critique")


def asked(folder: Path, one: GenerativeJudge) -> EvalC:
    rows = read_eval_c(data_file(folder, 6))
    first = read_critiques(rows, "autoj")
    second = read_critiques(rows, str(folder / "reference_chatgpt_critique.jsonl"))
    path = folder / "asked.jsonl"
    compare_to_file(one, compare_items(rows, first, second), path, limit=1.0)
    return evaluate_eval_c(read_comparisons(rows, path, first, second), first="autoj", second="chatgpt")


def test_a_judge_is_asked_in_both_orders(tmp_path: Path) -> None:
    result = asked(tmp_path, longer_judge())
    assert (result.asked_both, result.wins, result.abstained) == (6, 6, 0)
    assert percent(result.consistency) == 100.0
    assert percent(result.first_shown_preferred) == 50.0


def test_a_judge_that_follows_the_place_wins_nothing(tmp_path: Path) -> None:
    result = asked(tmp_path, judge("first"))
    assert (result.wins, result.losses, result.abstained) == (0, 0, 6)
    assert percent(result.win_rate) == 0.0
    assert percent(result.consistency) == 0.0
    assert percent(result.first_shown_preferred) == 100.0
    assert result.decided_win_rate is None


def test_the_question_holds_query_response_and_only_then_critiques(tmp_path: Path) -> None:
    rows = read_eval_c(data_file(tmp_path, 1))
    (item,) = compare_items(rows, read_critiques(rows, "autoj"), {"eval-c-0001": "other"})
    content = item.prompt.messages[0].content
    assert content.index("\nq0\n") < content.index("\nr0\n")
    assert (item.first.text, item.second.text) == ("A longer critique, number 0.", "other")
    assert "critique, number" not in content
