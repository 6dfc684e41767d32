"""Any file of labelled pairs or of ratings becomes examples."""

from __future__ import annotations

import json

import polars as pl
import pytest

from judge_training.data.generic import read_labelled_pairs, read_ratings
from rewards.columns import ColumnMap
from rewards.errors import InputError
from rewards.protocol.builtin import builtin_protocol

PROTOCOL = builtin_protocol()
PAIRS = [
    {
        "prompt": "Name a river.",
        "response_1": "Elbe",
        "response_2": "Elba",
        "label": "first",
        "scenario": "open_question",
    },
    {"prompt": "Name a lake.", "response_1": "Garda", "response_2": "Como", "label": "tie"},
    {"prompt": "Name a hill.", "response_1": "Etna", "response_2": "a hill", "label": "second"},
]


def test_pairs_with_ties_from_jsonl_parquet_and_rows(tmp_path):
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    pl.DataFrame(PAIRS).write_parquet(tmp_path / "p.parquet")
    read = [
        read_labelled_pairs(rows, PROTOCOL).records for rows in (tmp_path / "p.jsonl", tmp_path / "p.parquet", PAIRS)
    ]
    assert read[0] == read[1] == read[2]
    assert [one.label for one in read[0]] == ["first", "tie", "second"]
    assert read[0][0].human_label == "first"
    assert (read[0][0].scenario, read[0][0].responses) == ("open_question", ("Elbe", "Elba"))


def test_a_hugging_face_data_set_is_rows():
    from datasets import Dataset

    assert len(read_labelled_pairs(Dataset.from_list(PAIRS), PROTOCOL).records) == 3


def test_chosen_and_rejected_are_shown_in_an_order_drawn_from_the_content():
    rows = [{"prompt": f"Name river {n}.", "chosen": f"Elbe {n}", "rejected": "no"} for n in range(64)]
    examples = read_labelled_pairs(rows, PROTOCOL).records
    labels = [one.label for one in examples]
    assert 16 < labels.count("second") < 48
    assert all(one.responses[0 if one.label == "first" else 1].startswith("Elbe") for one in examples)
    again = read_labelled_pairs(rows[::-1], PROTOCOL).records
    assert {one.id: one.label for one in again} == {one.id: one.label for one in examples}


def test_a_critique_of_a_pair_must_agree_with_the_label():
    rows = [
        PAIRS[0] | {"why": "Elba is an island.\n\nFinal decision: Response 1"},
        PAIRS[1] | {"why": "Both are lakes."},
        PAIRS[2] | {"why": "Final decision: Tie"},
    ]
    read = read_labelled_pairs(rows, PROTOCOL, critique="why", human=False)
    assert [one.critique for one in read.records] == ["Elba is an island.", "Both are lakes."]
    assert read.records[0].human_label is None
    assert read.skipped == {"verdicts_differ": 1}
    with pytest.raises(InputError, match="missing_column"):
        read_labelled_pairs(PAIRS, PROTOCOL, critique="why")


RATED = [
    {"prompt": "Name a river.", "response": "Elbe", "score": 7, "critique": "Right.\n\nRating: [[7]]"},
    {"prompt": "Name a lake.", "response": "Garda", "score": 8, "critique": "Right."},
    {"prompt": "Name a hill.", "response": "Etna", "score": 3, "critique": "Rating: [[9]]"},
    {"prompt": "Name a city.", "response": "Rome", "score": 11, "critique": ""},
    {"prompt": "Name a town.", "response": "Bath", "score": None, "critique": "Fine.\nRating: [[6]]"},
    {"prompt": "Name a sea.", "response": "Baltic", "score": None, "critique": "Fine."},
]


def test_ratings_with_critiques():
    read = read_ratings(RATED, PROTOCOL, columns=ColumnMap(reward="score"), critique="critique", source="mine")
    assert [(one.rating, one.critique) for one in read.records] == [(7.0, "Right."), (8.0, "Right."), (6.0, "Fine.")]
    assert read.skipped == {"verdicts_differ": 1, "off_scale": 1, "no_rating": 1}
    assert read.records[0].id.startswith("mine-")


def test_rated_responses_without_critiques():
    read = read_ratings(RATED, PROTOCOL, columns=ColumnMap(reward="score"))
    assert [one.rating for one in read.records] == [7.0, 8.0, 3.0]
    assert all(not one.critique for one in read.records)
    assert read.skipped == {"off_scale": 1, "no_rating": 2}


def test_nothing_to_use_is_an_error():
    with pytest.raises(InputError, match="no_rating 1"):
        read_ratings([{"prompt": "a", "response": "b"}], PROTOCOL)
