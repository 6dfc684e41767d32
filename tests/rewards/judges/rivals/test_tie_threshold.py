"""The searched threshold is the best there is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.errors import InputError
from rewards.judges.rivals.tie_threshold import search_tie_threshold, winner_of
from rewards.types import Winner

WINNERS: tuple[Winner, ...] = ("first", "second", "tie")


def test_a_planted_threshold_is_found() -> None:
    draw = random.Random(0)
    differences = [draw.gauss(0, 2) for _ in range(400)]
    labels = [winner_of(difference, 0.7) for difference in differences]
    found = search_tie_threshold(differences, labels)
    below = max(abs(one) for one in differences if abs(one) <= 0.7)
    above = min(abs(one) for one in differences if abs(one) > 0.7)
    assert below <= found.threshold < above
    assert (found.agreement.value, found.n) == (1.0, 400)


@given(
    st.lists(st.tuples(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]), st.sampled_from(WINNERS)), min_size=1)
)
def test_no_other_threshold_is_better_and_no_smaller_one_as_good(pairs: list[tuple[float, Winner]]) -> None:
    differences, labels = zip(*pairs, strict=True)
    found = search_tie_threshold(differences, labels)

    def right(threshold: float) -> int:
        return sum(winner_of(difference, threshold) == label for difference, label in pairs)

    best = max(right(step / 4) for step in range(12))
    assert right(found.threshold) == best
    assert found.agreement.value == best / len(pairs)
    smaller = [step / 4 for step in range(12) if step / 4 < found.threshold and right(step / 4) == best]
    for threshold in smaller:  # then it gives the same verdicts
        assert not any(threshold < abs(difference) <= found.threshold for difference in differences)


def test_nothing_to_search_on_is_an_error() -> None:
    with pytest.raises(InputError):
        search_tie_threshold([], [])
    with pytest.raises(InputError):
        search_tie_threshold([1.0], [])
