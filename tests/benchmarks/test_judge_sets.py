"""Every set that judges are measured on is read with labels that mean what they say, and without trained prompts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from benchmarks.judge_sets import SETS, JudgedSet, rows_of
from judge_training.data.decontaminate import TestPrompts
from judge_training.pair_sets import read_pair_set
from judge_training.rated_sets import read_rated_set
from rewards.jsonl import write_records

MADE_UP = JudgedSet("made up", "pairs", "us", lambda _: pairs())


def pairs() -> list[dict]:
    return [
        {
            "prompt": f"q{n % 7}",
            "response_1": f"a{n}",
            "response_2": "b" if n else "a0",
            "label": "first",
            "scenario": s,
        }
        for n in range(40)
        for s in ("x", "y")
    ]


def test_rows_are_drawn_the_same_every_time_from_every_part_without_trained_prompts(tmp_path: Path):
    known = TestPrompts({"training": ["Q3!"]})
    found, dropped = rows_of(MADE_UP, tmp_path, limit=10, trained_on=known)
    assert found == rows_of(MADE_UP, tmp_path, limit=10, trained_on=known)[0]
    assert dropped == sum(row["prompt"] == "q3" for row in pairs()) > 0
    assert [row["scenario"] for row in found] == ["x", "y"] * 5
    assert all(row["prompt"] != "q3" and row["response_1"] != row["response_2"] for row in found)


def test_a_set_that_is_not_there_is_left_out(tmp_path: Path):
    assert all(rows_of(one, tmp_path, limit=5, trained_on=None) == ([], 0) for one in SETS)


@pytest.mark.shared_data
@pytest.mark.parametrize("one", SETS, ids=lambda one: one.name)
def test_real_sets_are_read(one: JudgedSet, shared_data: Path, tmp_path: Path):
    rows, _ = rows_of(one, shared_data, limit=30, trained_on=None)
    path = tmp_path / "set.jsonl"
    write_records(path, rows)
    if one.kind == "pairs":
        read = read_pair_set(path)
        assert len(read.rows) == len(rows) == (10 if one.long else 30)
        assert len({row.label for row in read.rows}) > 1
        assert read.skipped == {}
    else:
        read = read_rated_set(path)
        assert len(read.reference) + read.skipped.get("duplicate", 0) == len(rows) >= 30
        assert set(read.skipped) <= {"duplicate"}
        assert len(set(read.reference.values())) > 3


@pytest.mark.shared_data
def test_the_better_side_of_hhh_is_the_one_people_chose(shared_data: Path):
    (hhh,) = (one for one in SETS if one.name == "HHH alignment")
    rows, _ = rows_of(hhh, shared_data, limit=500, trained_on=None)
    file = shared_data / "prometheus-eval" / "hhh_alignment_eval.jsonl.gz"
    lines = gzip.decompress(file.read_bytes()).decode("utf-8").splitlines()
    chosen = {(row["instruction"], row["chosen"]) for row in map(json.loads, lines)}
    for row in rows:
        assert (row["prompt"], row["response_1" if row["label"] == "first" else "response_2"]) in chosen
    assert 0.35 < sum(row["label"] == "first" for row in rows) / len(rows) < 0.65
