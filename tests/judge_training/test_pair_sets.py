"""Pairs with people's labels in any columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from judge_training.pair_sets import PairSetResult, compare_items, evaluate_pair_set, read_pair_set
from judge_training.sheets import pair_set_sheet
from rewards.columns import ColumnMap
from rewards.errors import InputError
from rewards.intervals import Interval
from rewards.judges.base import CompareItem
from rewards.judges.generative import GenerativeJudge
from rewards.judges.scripted import rule_backend
from rewards.protocol.builtin import builtin_protocol

COLUMNS = ColumnMap(
    response_1="a", response_2="b", label="better", label_values={"A": "first", "B": "second", "=": "tie"}
)
ROWS = [
    {"prompt": "q1", "a": "a long answer", "b": "short", "better": "A"},
    {"prompt": "q1", "a": "short", "b": "a long answer", "better": "A"},  # another person, the other way round
    {"prompt": "q2", "a": "no", "b": "a long answer", "better": "="},
    {"prompt": "q3", "a": "yes", "b": "a long answer", "better": "B"},
    {"prompt": "q4", "a": "same", "b": "same", "better": "="},
    {"prompt": "q5", "a": "x", "b": "y", "better": "?"},
]


def percent(share: Interval | None) -> float:
    assert share is not None
    return round(100 * share.value, 2)


def compared(items: list[CompareItem]):
    protocol = builtin_protocol()
    return list(GenerativeJudge(rule_backend("longer", protocol), protocol, "direct").compare(items))


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def measured(path: Path) -> PairSetResult:
    pairs = read_pair_set(path, columns=COLUMNS)
    return evaluate_pair_set(pairs, compared(compare_items(pairs)))


def test_several_labels_of_a_pair_and_what_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", ROWS)
    pairs = read_pair_set(path, columns=COLUMNS)
    items = compare_items(pairs)
    assert len(items) == len({frozenset((item.first.id, item.second.id)) for item in items})
    result = measured(path)
    assert result.skipped == {"unknown_label": 1, "identical_responses": 1}
    assert result.agreement.n == 4
    # The longer one wins: right on q1 for one person, wrong for the other, wrong on the tie, right on q3.
    assert percent(result.agreement.agreement) == 50.0
    assert percent(result.agreement.longer_agreement) == 50.0
    assert percent(result.agreement.random_agreement) == 37.5
    assert percent(result.agreement.judge_longer) == 100.0
    assert result.people is not None
    assert (result.people.n, percent(result.people)) == (1, 0.0)
    titles = [table.title for table in pair_set_sheet("set", result).tables]
    assert titles[-1] == "Labels"


def test_comparisons_named_the_other_way_round_count_the_same(tmp_path: Path) -> None:
    pairs = read_pair_set(write(tmp_path / "set.jsonl", ROWS), columns=COLUMNS)
    comparisons = compared(compare_items(pairs))
    swapped = [one.swap() for one in reversed(comparisons)]
    assert evaluate_pair_set(pairs, swapped) == evaluate_pair_set(pairs, comparisons)
    assert evaluate_pair_set(pairs, comparisons[1:]).agreement.unmatched > 0
    with pytest.raises(InputError, match="a second one in"):
        evaluate_pair_set(pairs, [*comparisons, swapped[0]])
    with pytest.raises(InputError, match="is it the same set"):
        evaluate_pair_set(pairs, [])


def test_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pairs of different responses, got none"):
        read_pair_set(write(tmp_path / "set.jsonl", [ROWS[4]]), columns=COLUMNS)


@pytest.mark.shared_data
def test_longer_wins_on_human_labelled_sets(shared_data: Path) -> None:
    numbered = {"1": "first", "2": "second"}
    llmbar = ColumnMap(prompt="input", label_values=numbered)
    for name, share in (("mt-bench", 69), ("faireval", 53), ("llmeval2", 59)):
        pairs = read_pair_set(shared_data / "llmbar-processed" / f"{name}.jsonl", columns=llmbar)
        result = evaluate_pair_set(pairs, compared(compare_items(pairs))).agreement
        assert round(percent(result.human_longer)) == share
        assert percent(result.consistency) == 100.0
    values = {"a-is-better": "first", "a-is-slightly-better": "first", "tie": "tie"}
    values |= {"b-is-slightly-better": "second", "b-is-better": "second"}
    tulu = ColumnMap(response_1="completion_a", response_2="completion_b", label="preference", label_values=values)
    pairs = read_pair_set(shared_data / "tulu-human-eval" / "annotations_a.jsonl.gz", columns=tulu)
    result = evaluate_pair_set(pairs, compared(compare_items(pairs)))
    assert round(percent(result.agreement.human_longer)) == 69
    assert result.people is not None
    assert 0.3 < result.people.value < 0.8
