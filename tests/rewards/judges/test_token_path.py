"""From reported alternatives to a distribution, or an honest no."""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.judges.base import Distribution, TokenStep
from rewards.judges.token_path import path_distribution
from rewards.types import Unparsed

RATINGS = tuple(f"{value}]]" for value in range(1, 11))


def step(token: str, **top: float) -> TokenStep:
    names = {"_10": "10", "_close": "]]"}
    shares = {names.get(name, name.removeprefix("_")): share for name, share in top.items()}
    return TokenStep(token, log(shares.get(token, 1.0)), {name: log(share) for name, share in shares.items()})


def distribution(*steps: TokenStep, start: int, choices: tuple[str, ...] = RATINGS) -> Distribution:
    found = path_distribution(steps, start, choices)
    assert isinstance(found, Distribution), found
    return found


def test_single_token_ratings_are_read_off() -> None:
    found = distribution(step("Rating: [["), step("5", _5=0.5, _6=0.25, _4=0.25), step("]]"), start=10)
    assert found.probabilities["5]]"] == pytest.approx(0.5)
    assert found.mass == pytest.approx(1.0)
    assert sum(found.probabilities.values()) == pytest.approx(1.0)


def test_whole_tens_as_one_token_is_not_a_one() -> None:
    found = path_distribution([step("5", _5=0.6, _10=0.4), step("]]")], 0, RATINGS)
    assert isinstance(found, Distribution)
    assert found.probabilities["10]]"] == pytest.approx(0.4)
    assert found.probabilities["1]]"] == 0.0


def test_an_open_one_off_the_path_is_ambiguous() -> None:
    found = path_distribution([step("5", _5=0.6, _1=0.4), step("]]")], 0, RATINGS)
    assert isinstance(found, Unparsed)
    assert found.reason == "ambiguous_distribution"


def test_an_open_one_on_the_path_is_followed() -> None:
    found = distribution(step("1", _1=0.6, _5=0.4), step("0", _0=0.75, _close=0.25), step("]]"), start=0)
    assert found.probabilities["10]]"] == pytest.approx(0.45)
    assert found.probabilities["1]]"] == pytest.approx(0.15)
    assert found.probabilities["5]]"] == pytest.approx(0.4)


def test_a_negligible_open_one_does_not_matter() -> None:
    found = distribution(step("5", _5=0.995, _1=0.004), step("]]"), start=0)
    assert found.probabilities["5]]"] == pytest.approx(1.0)


def test_a_token_that_begins_before_the_rating_keeps_its_lead() -> None:
    found = distribution(step("Rating:"), TokenStep(" [[7", log(0.5), {" [[7": log(0.5), " [[8": log(0.5)}), start=10)
    assert found.probabilities["7]]"] == pytest.approx(0.5)


def test_too_few_alternatives_are_ambiguous() -> None:
    found = path_distribution([step("5", _5=0.3, _6=0.3), step("]]")], 0, RATINGS)
    assert isinstance(found, Unparsed), "0.4 of the probability may lie on ratings that were not reported"


def test_steps_that_end_before_the_verdict_are_ambiguous() -> None:
    assert isinstance(path_distribution([step("Rating")], 10, RATINGS), Unparsed)
    assert isinstance(path_distribution([], 0, RATINGS), Unparsed)


@given(st.lists(st.floats(0.01, 1.0), min_size=10, max_size=10))
def test_a_full_tree_of_digits_gives_the_exact_distribution_when_the_path_is_the_fork(
    weights: list[float],
) -> None:
    """Digits are tokens of their own; the path goes through "1", so every branch is known."""
    total = sum(weights)
    shares = {f"{value}": weight / total for value, weight in zip(range(1, 11), weights, strict=True)}
    one = shares["1"] + shares["10"]
    first = {str(value): log(shares[str(value)]) for value in range(2, 10)} | {"1": log(one)}
    second = {"]]": log(shares["1"] / one), "0": log(shares["10"] / one)}
    path = [TokenStep("1", first["1"], first), TokenStep("0", second["0"], second), TokenStep("]]", 0.0, {})]
    found = distribution(*path, start=0)
    assert found.probabilities == pytest.approx({f"{name}]]": share for name, share in shares.items()})


@given(st.data())
def test_never_more_certain_than_what_was_reported(data: st.DataObject) -> None:
    tokens = [*map(str, range(1, 11)), "]]", "5]", "x"]
    picked = data.draw(st.lists(st.sampled_from(tokens), min_size=1, max_size=6, unique=True))
    shares = data.draw(st.lists(st.floats(0.001, 1.0 / len(picked)), min_size=len(picked), max_size=len(picked)))
    top = {token: log(share) for token, share in zip(picked, shares, strict=True)}
    found = path_distribution([TokenStep(picked[0], top[picked[0]], top)], 0, RATINGS)
    if isinstance(found, Distribution):
        assert sum(found.probabilities.values()) == pytest.approx(1.0)
        assert found.mass <= sum(shares) + 1e-9


def test_labels_need_no_closing_text() -> None:
    labels = (" Response 1", " Response 2", " Tie")
    steps = [
        TokenStep(" Response", log(0.8), {" Response": log(0.8), " Tie": log(0.2)}),
        TokenStep(" ", 0.0, {" ": 0.0}),
        TokenStep("2", log(0.75), {"2": log(0.75), "1": log(0.25)}),
    ]
    found = distribution(*steps, start=0, choices=labels)
    expected = dict(zip(labels, (0.2, 0.6, 0.2), strict=True))
    assert found.probabilities == pytest.approx(expected)


def test_what_a_model_would_write_instead_does_not_count_against_ten() -> None:
    """As in constrained decoding: 0.5 is on "1" or "10", a quarter of it on "1", though 0.6 would go on otherwise."""
    found = distribution(step("1", _1=0.5, _5=0.5), step("0", _0=0.3, _close=0.1, _x=0.6), step("]]"), start=0)
    assert found.probabilities["1]]"] == pytest.approx(0.125)
    assert found.probabilities["10]]"] == pytest.approx(0.375)
    assert found.probabilities["5]]"] == pytest.approx(0.5)
    assert found.mass == pytest.approx(1.0)


def test_inside_a_choice_too_what_is_cut_off_is_not_guessed() -> None:
    found = path_distribution([step("1", _1=0.5, _5=0.5), step("0", _0=0.3, _x=0.4), step("]]")], 0, RATINGS)
    assert isinstance(found, Unparsed), "up to 0.3 may be on the closing that was not reported"
    assert "not among the alternatives reported" in found.detail
