"""The critique without its verdict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge_training.collection.critique_text import critique_before_verdict
from judge_training.examples import ExampleKind
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.parse import ParsedRating, parse_rating
from rewards.protocol.write import write_rating, write_verdict

PROTOCOL = builtin_protocol()


@pytest.mark.parametrize(
    ("kind", "text", "critique"),
    [
        ("single", "It is fine.\n\nRating: [[5]]", "It is fine."),
        ("single", "It is fine. Rating: [[5]]", "It is fine."),
        ("single", "It is fine.\n\n**Rating:** [[5]]", "It is fine."),
        ("single", "It is fine.\n\n### Final rating\n\n[[5]]", "It is fine."),
        ("single", "It is fine.\n---\n[[5]]\n\nI hope this helps!", "It is fine."),
        ("single", "Wrong sum.\n```\n1+1=3\n```\nRating: [[2]]", "Wrong sum.\n```\n1+1=3\n```"),
        ("single", "It gets the score of the match wrong.\nSo I give this response a rating of [[3]].",
         "It gets the score of the match wrong."),
        ("single", "Its rating of films is wrong.\n\nRating: [[3]]", "Its rating of films is wrong."),
        ("single", "Rating: [[5]]", ""),
        ("single", "Rating: [[5]]\n\nIt is fine.", ""),
        ("pairwise", "Response 1 is right.\n\nFinal decision: Response 1", "Response 1 is right."),
        ("pairwise", "Response 1 is right.\nThe final decision is **Response 1**.", "Response 1 is right."),
        ("pairwise", "Response 1 is right.\n\n## Final decision\nResponse 1", "Response 1 is right."),
        ("pairwise", "Final decision: Tie", ""),
        ("single", "First I thought Rating: [[3]]\nBut no.\nRating: [[5]]", None),
    ],
)  # fmt: skip
def test_the_verdict_and_its_announcement_are_cut(kind: ExampleKind, text: str, critique: str | None) -> None:
    assert critique_before_verdict(text, kind, PROTOCOL) == critique


@given(st.text(max_size=200), st.sampled_from([1.0, 5.0, 10.0]))
def test_what_was_written_with_a_rating_comes_back_without_it(critique: str, rating: float) -> None:
    found = critique_before_verdict(write_rating(critique, rating, PROTOCOL), "single", PROTOCOL)
    if found is not None:
        again = parse_rating(write_rating(found, rating, PROTOCOL), scale=PROTOCOL.scale)
        assert isinstance(again, ParsedRating)
        assert again.value == rating
        assert critique.strip().startswith(found) or found in critique


def test_a_decision_goes_there_and_back() -> None:
    for winner in ("first", "second", "tie"):
        text = write_verdict("Response 1 names two reasons.\n\nResponse 2 none.", winner, PROTOCOL)  # type: ignore[arg-type]
        assert (
            critique_before_verdict(text, "pairwise", PROTOCOL) == "Response 1 names two reasons.\n\nResponse 2 none."
        )
