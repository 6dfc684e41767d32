"""AUTO-J's release layout, in files of our own; and what a written judgment is taken apart into."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge_training.data.release import (
    evaluation_prompts,
    read_classifier_data,
    read_independent,
    read_release,
    read_selection,
    read_test_critiques,
    read_test_pairs,
)
from judge_training.data.verdict_line import split_rating, split_verdict
from judge_training.examples import training_text
from rewards.errors import MissingFileError
from rewards.protocol.builtin import builtin_protocol
from rewards.values import BadValue

from .release_files import pair_row, single_row, write, write_release

PROTOCOL = builtin_protocol()


def test_both_training_files_become_examples(tmp_path):
    release = read_release(write_release(tmp_path))
    kinds = [one.kind for one in release.examples.records]
    assert kinds == ["single"] * 4 + ["pairwise"] * 4
    single, pair = release.examples.records[1], release.examples.records[4]
    assert (single.prompt.messages[0].content, single.responses) == ("Where is Rome?", ("Answer 1.",))
    assert (single.rating, single.critique) == (6.5, "It names one.\nIt says no more.")
    assert single.columns == {"source_dataset": "chatbot_arena"}
    assert (pair.label, pair.human_label, pair.scenario) == ("first", "first", "others")
    assert pair.responses == ("Ontario.", "Lake Garda.")
    assert pair.critique == "1. Place: Response 2 says lake.\n2. Both are right."
    assert [one.label for one in release.examples.records[4:]] == ["first", "second", "tie", "first"]


def test_an_example_is_asked_again_in_the_releases_own_words(tmp_path):
    release = read_release(write_release(tmp_path))
    for row, example in zip([single_row(response="Answer 0.")], release.examples.records, strict=False):
        text = training_text(example, release.protocol)
        assert text.prompt == row["usrmsg"]
        assert text.completion == row["target_output"]


def test_without_the_pairwise_file_there_are_single_judgments(tmp_path):
    release = read_release(write_release(tmp_path, pairwise=False))
    assert len(release.examples.records) == 4
    assert release.protocol.pairwise is None


def test_rows_that_contradict_themselves_are_dropped(tmp_path):
    write_release(tmp_path)
    rows = [single_row("A?", "a"), single_row("B?", "b", pred_score=4.0), single_row("C?", "c", target_output="None.")]
    write(tmp_path / "data/training/single_traindata.jsonl", [*rows, single_row("D?", "d", scenario="baking")])
    pairs = [
        pair_row("A?", 0),
        pair_row("B?", 1, pred_label=0),
        pair_row("C?", 1, gt_label=2),
        pair_row("D?", gt_label=7),
    ]
    write(tmp_path / "data/training/pairwise_traindata.jsonl", pairs)
    examples = read_release(tmp_path).examples
    assert examples.skipped == {"verdicts_differ": 2, "no_verdict": 1, "unknown_scenario": 1, "unknown_label": 1}
    assert [(one.label, one.human_label) for one in examples.records[1:]] == [("first", "first"), ("second", "tie")]


def test_the_other_files_of_the_release(tmp_path):
    folder = write_release(tmp_path)
    independent = read_independent(folder / "data/training/single_independent/usescenario.jsonl").records[0]
    assert (independent.critique, independent.rating) == ("1. It is bare.", None)
    assert independent.source == "auto_j_usescenario"
    pairs = read_test_pairs(folder)
    assert [(one.id, one.human_label) for one in pairs] == [("eval-p-0001", "tie"), ("eval-p-0002", "first")]
    assert read_test_critiques(folder).records[0].columns["autoj"] == "Bare."
    selection = read_selection(folder).records
    assert [(one.responses[0], one.columns["autoj"]) for one in selection] == [("Walk.", 6.0), ("Run.", 4.0)]
    assert len({one.id for one in selection}) == 2
    assert evaluation_prompts(folder) == {
        "eval_p": ("Plan a week.", "Where is Rome?"),
        "eval_c": ("Plan a week.",),
        "eval_r": ("Plan a year.",),
    }
    texts = read_classifier_data(folder, "test")
    assert [(one.text, one.scenario) for one in texts.records] == [
        ("Do it.", "others"),
        ("Plan.\n\nA week.", "planning"),
    ]
    assert texts.skipped == {"unknown_scenario": 1}


def test_files_that_are_missing_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="single_traindata"):
        read_release(tmp_path)
    with pytest.raises(MissingFileError, match="testdata_pairwise"):
        evaluation_prompts(tmp_path)
    with pytest.raises(MissingFileError, match="testdata_selection"):
        read_selection(write_release(tmp_path, selection=False))
    assert "eval_r" not in evaluation_prompts(tmp_path)


@pytest.mark.parametrize(
    ("text", "critique"),
    [
        ("Good.\n\nRating: [[7]]", "Good."),
        ("Good.\n\nRating: [[7]].", "Good."),
        ("Good. **Rating: [[7]]**", "Good."),
        ("Good.\nI give it a rating of [[7]].", "Good."),
        ("Rating: [[7]]", ""),
        ("Rating: [[7]]\n\nBecause it is good.", "Rating: [[7]]\n\nBecause it is good."),
    ],
)
def test_a_rating_at_the_end_is_taken_off(text, critique):
    assert split_rating(text, PROTOCOL) == (critique, 7.0)


def test_a_long_sentence_with_a_rating_stays_part_of_the_critique():
    text = "Since it names the river, its length, its source and its mouth, and errs in none, its rating is [[7]]"
    assert split_rating(text, PROTOCOL) == (text, 7.0)


@pytest.mark.parametrize(
    ("text", "critique"),
    [
        ("Both err.\n\nFinal decision: Tie", "Both err."),
        ("Both err. So, the final decision is Tie.", "Both err."),
        ("Both err.\nFinal decision:\nTie", "Both err."),
        ("Final decision: Tie", ""),
    ],
)
def test_a_decision_at_the_end_is_taken_off(text, critique):
    assert split_verdict(text, PROTOCOL) == (critique, "tie")


def test_without_a_verdict_there_is_a_reason():
    with pytest.raises(BadValue) as bad:
        split_rating("Good.", PROTOCOL)
    assert bad.value.reason == "no_verdict"


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 10))
def test_what_was_written_is_taken_apart_again(critique, rating):
    from rewards.protocol.write import write_rating

    text = write_rating(critique, rating, PROTOCOL)
    rest, value = split_rating(text, PROTOCOL)
    assert value == rating
    assert text.startswith(rest)
    assert write_rating(rest, rating, PROTOCOL).split() == text.split() or rest == text
