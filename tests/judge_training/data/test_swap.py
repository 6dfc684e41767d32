"""Swapping exchanges responses, labels and every mention at once; twice is the identity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge_training.data.swap import swap_example, swap_mentions, with_swaps
from judge_training.examples import training_text
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.parse import parse_verdict
from rewards.types import Verdict

from .made_up import pair, single

PIECES = st.sampled_from(
    [
        "Response 1", "Response 2", "response 1's", "responses 1 and 2", "**Response 2:**", "Response #1",
        "RESPONSE 2", "Response 10", "Response 1.5", "Assistant A", "assistant B", "Models A and B",
        "Answer 2", "the answer 2", "the first response", "The second answer", "the first", "the second is",
        "The first.", "first and second replies", "the 1st response", "First", "second", "R1", "R2", "R2-D2",
        "回应1", "第二个回答", "the former", "the latter", "Response One", "Response", "1", "2", "A", "one", " ",
        "\n", ", ", ". ", "-", "and", "/", "[", "]", "the ", "of the two responses",
    ]
)  # fmt: skip
critiques = st.lists(PIECES | st.text(max_size=4), max_size=12).map("".join) | st.lists(PIECES).map(" ".join)
labels = st.sampled_from(["first", "second", "tie", None])


@given(critiques)
def test_swapping_mentions_twice_is_the_identity(critique):
    assert swap_mentions(swap_mentions(critique)) == critique


@given(critiques, labels, labels)
def test_swapping_an_example_twice_is_the_identity(critique, label, human):
    columns = {"response_1_by": "a", "response_2_by": "b", "other": 1}
    example = pair(critique=critique, label=label, human_label=human, columns=columns)
    swapped = swap_example(example)
    assert swap_example(swapped) == example
    assert swapped.id != example.id
    assert swapped.responses == example.responses[::-1]
    assert swapped.columns == {"response_1_by": "b", "response_2_by": "a", "other": 1}


@pytest.mark.parametrize(
    ("critique", "swapped"),
    [
        ("Response 1 beats Response 2.", "Response 2 beats Response 1."),
        ("response 2's tone; RESPONSE 1", "response 1's tone; RESPONSE 2"),
        ("Responses 1 and 2 score 3 and 2.", "Responses 2 and 1 score 3 and 2."),
        ("**Response 1:** x **Response #2** y", "**Response 2:** x **Response #1** y"),
        ("Assistant A, not assistant B", "Assistant B, not assistant A"),
        ("The first response errs, the second response not.", "The second response errs, the first response not."),
        ("The first answer is long; the second is right.", "The second answer is long; the first is right."),
        ("Of the first and second replies, one", "Of the second and first replies, one"),
        ("the 2nd response", "the 1st response"),
        ("R1 is clear, R2 (longer) is not.", "R2 is clear, R1 (longer) is not."),
        ("第一个回答更好，回应2较差", "第二个回答更好，回应1较差"),
        ("Response 2 beats Response 1; the latter is short.", "Response 1 beats Response 2; the latter is short."),
    ],
)  # fmt: skip
def test_mentions(critique, swapped):
    assert swap_mentions(critique) == swapped


@pytest.mark.parametrize(
    "critique",
    [
        "Response 10 and response 1.5 and Response 21",
        "The first paragraph is good. The first is accuracy, the second is style.",
        "It gives the answer 2, and outputs 1.",
        "R2-D2 met R2 in the film.",
        "First, it greets. Second, it explains.",
        "A response A-level students like; class A; plan B",
        "The former and the latter",
        "step 1, step 2, part A",
    ],
)
def test_what_only_looks_like_a_mention_stays(critique):
    assert swap_mentions(critique) == critique


def test_mistake_04_a_swapped_pair_has_the_swapped_label():
    example = pair(label="first", human_label="second", critique="Response 1 is right, Response 2 is not.")
    swapped = swap_example(example)
    assert (swapped.label, swapped.human_label) == ("second", "first")
    protocol = builtin_protocol()
    text = training_text(swapped, protocol)
    parsed = parse_verdict(text.completion, labels=protocol.labels)
    assert isinstance(parsed, type(parse_verdict("Final decision: Tie", labels=protocol.labels)))
    assert parsed.winner == Verdict(winner="first").swap().winner
    assert text.completion.startswith("Response 2 is right, Response 1 is not.")
    assert text.prompt.index(example.responses[1]) < text.prompt.index(example.responses[0])
    assert swap_example(pair(label="tie")).label == "tie"


def test_only_pairs_are_doubled():
    examples = [pair(1), single(1)]
    assert [example.id for example in with_swaps(examples)] == ["pair-1", "pair-1~swapped", "single-1"]
    assert swap_example(single(1)) == single(1)
