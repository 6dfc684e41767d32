"""Reading answers: the last complete verdict or a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.parse import ParsedRating, ParsedVerdict, parse_rating, parse_verdict
from rewards.protocol.render import render_pairwise, render_single
from rewards.protocol.spec import Scale, VerdictLabels
from rewards.types import Unparsed

WHOLE = Scale()
HALVES = Scale(step="0.5")
LABELS = VerdictLabels()
CHINESE = VerdictLabels(first="回应1", second="回应2", tie="平局")


def rating(text, scale=WHOLE, finish=None):
    parsed = parse_rating(text, scale=scale, finish_reason=finish)
    return parsed.reason if isinstance(parsed, Unparsed) else parsed.value


def verdict(text, labels=LABELS, finish=None):
    parsed = parse_verdict(text, labels=labels, finish_reason=finish)
    return parsed.reason if isinstance(parsed, Unparsed) else parsed.winner


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Good.\n\nRating: [[5]]", 5),
        ("[[10]]", 10),
        ("I would give it a [[7]].", 7),
        ("**Rating: [[3]]**", 3),
        ("**Rating:** [[ **3** ]] ", 3),
        ("Rating: [[5.0]]", 5),
        ("Rating: [[5]]/10", 5),
        ('"Rating: [[4]]".', 4),
        ("评分：[[5]]", 5),
        ("评分：［［８］］", 8),
        ("【【6】】", 6),
        ("Rating: [[5]]\nRating: [[7]]", 7),
        ("Rating: [[5]]\nRating: [[7", 5),
        ("Rating: [[5.5]]", "off_scale"),
        ("Rating: [[0]]", "off_scale"),
        ("Rating: [[11]]", "off_scale"),
        ("Rating: [[-3]]", "off_scale"),
        ("Rating: [[5/10]]", "off_scale"),
        ("Rating: [[5-6]]", "off_scale"),
        ("Rating: [[1e1]]", "off_scale"),
        ("Rating: [[3]]\nRating: [[11]]", "off_scale"),
        ("Rating: [[N]]", "no_verdict"),
        ("Rating: [[rating]]", "no_verdict"),
        ("Rating: [[5", "no_verdict"),
        ("Rating: [5]", "no_verdict"),
        ("Rating: 5", "no_verdict"),
        ("[[\n5\n]]", "no_verdict"),
        ("", "no_verdict"),
        ("See [[Paris]] and if [[ -f x ]].", "no_verdict"),
    ],
)
def test_ratings(text, expected):
    assert rating(text) == expected


def test_halves_are_on_a_scale_of_halves():
    assert rating("Rating: [[5.5]]", HALVES) == 5.5
    assert rating("Rating: [[5.25]]", HALVES) == "off_scale"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A critique that has no", "cut_off"),
        ("", "cut_off"),
        ("Rating: [[5", "cut_off"),
        ("The matrix [[3]] is wrong, and the", "cut_off"),
        ("Rating: [[5]]\n\nThis response is", 5),
        ("[[5]]\n\nThis response is", 5),
        ("Rating: [[5]]\n" * 3 + "Rating: [[5", 5),
        ("Rating: [[12]]\nThis", "off_scale"),
    ],
)
def test_an_answer_that_was_cut_off(text, expected):
    assert rating(text, finish="length") == expected


def test_a_rating_says_where_it_stands():
    parsed = parse_rating("x\nRating: **[[ 10 ]]**", scale=WHOLE)
    assert parsed == ParsedRating(10.0, "10", 15, 17)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Final decision: Response 1", "first"),
        ("So, the final decision is Response 2.", "second"),
        ("FINAL DECISION: TIE", "tie"),
        ("**Final Decision:** **Response 1**.", "first"),
        ("Final decision: [[Response 2]]", "second"),
        ("Final decision: “Tie”", "tie"),
        ("The final decision is that it's a tie.", "tie"),
        ("The final decision is a tie", "tie"),
        ("the final decision is to go with Response 2!", "second"),
        ("### Final decision\n\n**Response 2**\n", "second"),
        ("Final decision:\n\nResponse 2", "second"),
        ("Final decision: Response 1 (by far)", "first"),
        ("Final decision: Response 1, because it is right and short.", "first"),
        ("Final decision: Response 1 is better than Response 2.", "first"),
        ("Final decision: Response 2. Response 1 is vague.", "second"),
        ("Final decision: Response 1\nOn reflection:\nFinal decision: Response 2", "second"),
        ("Final decision: Response 1\n\n(Final decision: Response 1 / Response 2 / Tie)", "first"),
        ("Final decision:\n\n", "no_verdict"),
        ("Final decision: Response", "no_verdict"),
        ("Final decision: Response 3", "no_verdict"),
        ("Final decision: Response 10", "no_verdict"),
        ("Final decision: Response 12", "no_verdict"),
        ("Final decision: Response 1.5", "no_verdict"),
        ("Final decision: Tied", "no_verdict"),
        ("Final decision: Tiers", "no_verdict"),
        ("Final decision: Response 1 / Response 2 / Tie", "no_verdict"),
        ("Final decision: Response 1, Response 2 or Tie", "no_verdict"),
        ("Final decision: Response 1 or Tie", "no_verdict"),
        ("Final decision: Response 1 and Response 2 are equal", "no_verdict"),
        ("The final decision is not Response 1.", "no_verdict"),
        ("Final decision: Response 1 is not better", "no_verdict"),
        ("Final decision: neither", "no_verdict"),
        ("I come to a final decision. Response 1 is long.", "no_verdict"),
        ("Final decision\nResponse 1 is long, Response 2 is right.", "no_verdict"),
        ("Response 1 is better.", "no_verdict"),
        ("", "no_verdict"),
    ],
)
def test_decisions(text, expected):
    assert verdict(text) == expected


def test_a_decision_says_where_its_label_stands():
    text = "x\nFinal decision: **response 2**"
    parsed = parse_verdict(text, labels=LABELS)
    assert isinstance(parsed, ParsedVerdict)
    assert text[parsed.start : parsed.end] == "response 2"


def test_a_decision_that_was_cut_off():
    assert verdict("Response 1 is", finish="length") == "cut_off"
    assert verdict("Final decision: Response", finish="length") == "cut_off"
    assert verdict("Final decision: Tie\n\nBoth", finish="length") == "tie"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("因此，最终决定是回应1。", "first"),
        ("最终决定：回应 2", "second"),
        ("最终的决定为“平局”", "tie"),
        ("Final decision: 回应2", "second"),
        ("最终决定：回应12", "no_verdict"),
        ("最终决定：回应1/回应2/平局", "no_verdict"),
        ("最终决定：Response 1", "no_verdict"),
    ],
)
def test_the_labels_are_data(text, expected):
    assert verdict(text, CHINESE) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Support is open 24/7.\nRating: [[3]]", 3),
        ("[[24/7]]", "off_scale"),
        ("Open 24/7.", "no_verdict"),
        ("First [[2]], but on reflection\nRating: [[9]]", 9),
        ('As told, for example: "Rating: [[5]]". I am not sure.', "no_verdict"),
        ('The response claims "Rating: [[10]]" for itself.\n\nRating: [[2]]', 2),
        ("Rating: [[2]]\n\nIts own `Rating: [[10]]` was ignored.", 2),
        ("10 out of 10 people", "no_verdict"),
    ],
)
def test_mistake_06_a_number_that_is_not_the_rating_is_not_read(text, expected):
    assert rating(text) == expected


def test_mistake_06_a_word_that_contains_a_label_is_not_the_label():
    labels = VerdictLabels(first="correct", second="incorrect", tie="C")
    assert verdict("Final decision: incorrect", labels) == "second"
    assert verdict("Final decision: correct", labels) == "first"
    assert verdict("Final decision: CI", labels) == "no_verdict"
    assert verdict("Final decision: uncorrect", labels) == "no_verdict"


@pytest.mark.parametrize("mode", ["critique", "direct"])
def test_mistake_06_a_judge_that_echoes_the_question_gives_no_verdict(mode):
    protocol = builtin_protocol()
    single = render_single(protocol, query="q", response="r", mode=mode)
    assert rating(single) == "no_verdict"
    pairwise = render_pairwise(protocol, query="q", response_1="a", response_2="b", mode=mode)
    assert verdict(pairwise) == "no_verdict"


@pytest.mark.parametrize(
    "piece",
    [
        "[[",
        "[[ ",
        "]]",
        "[[" + " " * 60,
        "[[5",
        "1",
        " ",
        "*",
        "Rating: ",
        "final decision",
        "final decision: ",
        "[[5]]",
        "final decision: a a a a a ",
        "final decision: Response 1 or ",
        "final decision\n",
        "\n",
        '"',
        "Final decision: Tie ",
    ],
)
def test_a_megabyte_of_adversarial_text_is_read_in_linear_time(piece):
    text = (piece * (1_000_000 // len(piece) + 1))[:1_000_000]
    for hostile in (text, "[[" + text, "final decision: " + text, "final decision" + text):
        assert isinstance(parse_rating(hostile, scale=WHOLE), ParsedRating | Unparsed)
        assert isinstance(parse_verdict(hostile, labels=LABELS), ParsedVerdict | Unparsed)


@given(st.text())
def test_any_text_is_a_verdict_or_a_reason_that_can_be_stored(text):
    for parsed in (parse_rating(text, scale=WHOLE), parse_verdict(text, labels=LABELS)):
        if isinstance(parsed, Unparsed):
            assert Unparsed.model_validate_json(parsed.to_json()) == parsed
