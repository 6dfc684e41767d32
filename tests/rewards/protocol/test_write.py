"""What is written as a training target is read back as the same verdict."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.errors import InputError
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.parse import ParsedRating, ParsedVerdict, parse_rating, parse_verdict
from rewards.protocol.spec import Asking, Scale, VerdictLabels
from rewards.protocol.write import WINNERS, verdict_choices, write_rating, write_verdict

BUILTIN = builtin_protocol()
HALVES = BUILTIN.model_copy(update={"scale": Scale(step=Decimal("0.5"))})
CHINESE = BUILTIN.model_copy(
    update={
        "labels": VerdictLabels(first="回应1", second="回应2", tie="平局"),
        "pairwise": Asking(critique=BUILTIN.pairwise.critique, answer_start="最终决定："),
    }
)
verdict_like = st.sampled_from(
    [
        "Rating: [[",
        "[[7]]",
        "Rating: [[10]]",
        "[[",
        "]]",
        '"',
        "`",
        "Final decision: Tie",
        "final decision is",
        "\n",
        "Tie",
        "Response 1",
        " / ",
        "final decision",
        ":",
        "**",
    ]
)
critiques = st.text() | st.lists(verdict_like | st.text(max_size=5)).map("".join)


@given(critiques, st.sampled_from([BUILTIN, HALVES]), st.data())
def test_a_written_rating_is_read_back(critique, protocol, data):
    value = float(data.draw(st.sampled_from(protocol.scale.strings)))
    text = write_rating(critique, value, protocol)
    parsed = parse_rating(text, scale=protocol.scale)
    assert isinstance(parsed, ParsedRating)
    assert parsed.value == value
    assert text.startswith(critique)
    assert parse_rating(text, scale=protocol.scale, finish_reason="length") == parsed


@given(critiques, st.sampled_from(WINNERS), st.sampled_from([BUILTIN, CHINESE]))
def test_a_written_decision_is_read_back(critique, winner, protocol):
    text = write_verdict(critique, winner, protocol)
    parsed = parse_verdict(text, labels=protocol.labels)
    assert isinstance(parsed, ParsedVerdict)
    assert parsed.winner == winner


def test_what_is_written_is_the_answer_start_and_a_choice():
    assert write_rating("Fine.", 7, BUILTIN) == "Fine.\n\nRating: [[7]]"
    assert write_rating("", 5.5, HALVES) == "Rating: [[5.5]]"
    assert write_verdict("", "second", BUILTIN) == "Final decision: Response 2"
    assert write_verdict("", "tie", CHINESE) == "最终决定：平局"
    assert verdict_choices(CHINESE) == {"回应1": "first", "回应2": "second", "平局": "tie"}


@pytest.mark.parametrize("value", [0, 11, 5.5, float("nan"), float("inf")])
def test_a_rating_off_the_scale_is_refused(value):
    with pytest.raises(InputError, match="on the scale"):
        write_rating("", value, BUILTIN)


def test_a_protocol_that_cannot_be_read_back_is_refused():
    odd = BUILTIN.model_copy(update={"single": Asking(critique=BUILTIN.single.critique, answer_start="Grade ")})
    with pytest.raises(InputError, match="read back"):
        write_rating("", 5, odd)
    with pytest.raises(InputError, match="only rates"):
        write_verdict("", "tie", BUILTIN.model_copy(update={"pairwise": None}))
