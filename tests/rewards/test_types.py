from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rewards.types import (
    Abstained,
    Candidate,
    Comparison,
    Judgment,
    Message,
    Outcome,
    Pair,
    Prompt,
    Rating,
    Reward,
    Scored,
    Unparsed,
    Unscored,
    Verdict,
    VerdictProbabilities,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
WINNERS = st.sampled_from(["first", "second", "tie"])


@st.composite
def probabilities(draw: Any) -> VerdictProbabilities:
    first = draw(st.floats(0, 1))
    second = draw(st.floats(0, 1 - first))
    return VerdictProbabilities(first=first, second=second, tie=max(0.0, 1 - first - second))


VERDICTS = st.builds(Verdict, winner=WINNERS, probabilities=st.none() | probabilities())
OUTCOMES = st.one_of(
    st.builds(Rating, value=FINITE, expected=st.none() | FINITE, variance=st.none() | st.floats(0, 100)),
    VERDICTS,
    st.builds(Unparsed, reason=st.sampled_from(["no_verdict", "timeout", "off_scale"]), detail=TEXT),
)
JUDGMENTS = st.builds(
    Judgment,
    id=IDS,
    prompt_id=IDS,
    candidate_ids=st.tuples(IDS) | st.tuples(IDS, IDS),
    outcome=OUTCOMES,
    critique=TEXT,
)
COMPARISONS = st.builds(
    Comparison,
    id=IDS,
    prompt_id=IDS,
    first_id=IDS,
    second_id=IDS,
    outcome=VERDICTS | st.builds(Abstained, reason=st.sampled_from(["orders_disagree", "unparsed"])),
    probabilities=st.none() | probabilities(),
    judgments=st.tuples(JUDGMENTS) | st.tuples(JUDGMENTS, JUDGMENTS),
)
SCORED = st.one_of(
    st.builds(Reward, candidate_id=IDS, prompt_id=IDS, value=FINITE, parts=st.dictionaries(TEXT, FINITE, max_size=3)),
    st.builds(Unscored, candidate_id=IDS, prompt_id=IDS, reason=TEXT),
)


@given(JUDGMENTS | COMPARISONS)
def test_judgments_and_comparisons_go_to_json_and_back(record: Judgment | Comparison) -> None:
    assert type(record).model_validate_json(record.to_json()) == record


@given(SCORED)
def test_a_reward_and_a_missing_one_are_told_apart_in_json(record: Reward | Unscored) -> None:
    adapter: TypeAdapter[Reward | Unscored] = TypeAdapter(Scored)
    assert adapter.validate_json(record.to_json()) == record


@given(OUTCOMES)
def test_an_outcome_keeps_its_kind_in_json(outcome: Rating | Verdict | Unparsed) -> None:
    adapter: TypeAdapter[Rating | Verdict | Unparsed] = TypeAdapter(Outcome)
    assert adapter.validate_json(outcome.to_json()) == outcome


@given(VERDICTS)
def test_swapping_twice_changes_nothing_and_once_exchanges_the_sides(verdict: Verdict) -> None:
    swapped = verdict.swap()
    assert swapped.swap() == verdict
    assert (swapped.winner == verdict.winner) == (verdict.winner == "tie")


@given(COMPARISONS)
def test_swapping_a_comparison_exchanges_names_and_verdict_together(comparison: Comparison) -> None:
    swapped = comparison.swap()
    assert (swapped.first_id, swapped.second_id) == (comparison.second_id, comparison.first_id)
    assert swapped.judgments == comparison.judgments
    if isinstance(comparison.outcome, Verdict):
        assert swapped.outcome == comparison.outcome.swap()


def test_text_without_a_utf8_form_is_refused() -> None:
    with pytest.raises(ValidationError, match="lone surrogate at character 1"):
        Candidate(id="a", prompt_id="p", text="x\ud800")
    with pytest.raises(ValidationError, match="lone surrogate"):
        Message(role="user", content="\udfff")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_is_a_finite_number(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Reward(candidate_id="a", prompt_id="p", value=value)


def test_a_prompt_ends_with_the_user() -> None:
    turns = (Message(role="user", content="a"), Message(role="assistant", content="b"))
    with pytest.raises(ValidationError, match="last message to be the user's, got role 'assistant'"):
        Prompt(id="p", messages=turns)


def test_mistake_02_a_pair_of_the_same_text_cannot_exist() -> None:
    with pytest.raises(ValidationError, match="chosen and rejected to differ"):
        Pair(id="x", prompt_id="p", messages=(), chosen_id="a", rejected_id="b", chosen="t", rejected="t", margin=1.0)


def test_records_cannot_be_changed_and_take_no_unknown_key() -> None:
    rating = Rating(value=5)
    with pytest.raises(ValidationError, match="frozen"):
        rating.value = 6  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        Rating.model_validate({"value": 5, "vaule": 6})
