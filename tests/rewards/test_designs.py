"""Pair designs: the right pairs, once, whatever the order, and never a response against itself."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.designs import Design, pairs_for
from rewards.errors import InputError
from rewards.types import Candidate, Reward

DESIGNS: tuple[Design, ...] = ("all", "circular", "anchor", "ties")


def texts(*given: str) -> list[Candidate]:
    return [Candidate(id=f"c{n}", prompt_id="p", text=text, index=n) for n, text in enumerate(given)]


def rewards(**values: float) -> dict[str, Reward]:
    return {
        key: Reward(candidate_id=key, prompt_id="p", value=value, parts={"rating": value})
        for key, value in values.items()
    }


def unordered(pairs: list[tuple[str, str]]) -> set[frozenset[str]]:
    return {frozenset(pair) for pair in pairs}


@pytest.mark.parametrize(
    ("n", "everyone", "ring"), [(0, 0, 0), (1, 0, 0), (2, 1, 1), (3, 3, 3), (4, 6, 4), (8, 28, 8)]
)
def test_sizes(n: int, everyone: int, ring: int) -> None:
    candidates = texts(*(f"text {i}" for i in range(n)))
    assert len(unordered(pairs_for(candidates, "all"))) == len(pairs_for(candidates, "all")) == everyone
    assert len(unordered(pairs_for(candidates, "circular"))) == len(pairs_for(candidates, "circular")) == ring
    assert len(unordered(pairs_for(candidates, "anchor"))) == len(pairs_for(candidates, "anchor")) == max(0, n - 1)


def test_ring_visits_everyone_once_in_each_place() -> None:
    pairs = pairs_for(texts(*"abcdefg"), "circular", seed=3)
    assert Counter(first for first, _ in pairs) == Counter(second for _, second in pairs)
    assert set(Counter(first for first, _ in pairs).values()) == {1}
    reached, start = set(), pairs[0][0]
    here = start
    while here not in reached:
        reached.add(here)
        here = dict(pairs)[here]
    assert len(reached) == 7


def test_seed_changes_the_ring() -> None:
    rings = {frozenset(unordered(pairs_for(texts(*"abcdefgh"), "circular", seed=seed))) for seed in range(5)}
    assert len(rings) == 5


@pytest.mark.parametrize("n", [4, 5, 8])
def test_being_first_is_balanced(n: int) -> None:
    firsts = Counter(first for first, _ in pairs_for(texts(*(str(i) for i in range(n))), "all"))
    assert max(firsts.values()) - min(firsts.values()) <= 1
    anchored = Counter(first for first, _ in pairs_for(texts(*(str(i) for i in range(n))), "anchor"))
    assert anchored["c0"] in (n // 2, (n - 1) // 2)


def test_anchor_is_the_named_the_best_rated_or_the_first() -> None:
    candidates = texts(*"abcd")
    named = pairs_for(candidates, "anchor", anchor="c2", rewards=rewards(c0=1, c1=9))
    assert all("c2" in pair for pair in named)
    assert all("c1" in pair for pair in pairs_for(candidates, "anchor", rewards=rewards(c0=1, c1=9)))
    assert all("c0" in pair for pair in pairs_for(candidates, "anchor"))
    assert all("c0" in pair for pair in pairs_for(candidates, "anchor", rewards={}))


def test_ties_compares_only_equal_ratings() -> None:
    given_rewards = rewards(c0=6, c1=4, c2=6, c3=4, c4=4, c5=4, c6=9)
    pairs = pairs_for(texts(*"abcdefgh"), "ties", rewards=given_rewards)
    assert len(pairs) == 1 + 4  # two sixes; a ring of four fours; one nine and one without a rating stay alone
    assert all(given_rewards[first].value == given_rewards[second].value for first, second in pairs)


def test_ties_are_of_the_rating_written_not_of_the_expected_one() -> None:
    parts = {"c0": {"rating": 6.0, "expectation": 0.21}, "c1": {"rating": 6.0, "expectation": -0.13}}
    given_rewards = {
        key: Reward(candidate_id=key, prompt_id="p", value=sum(one.values()), parts=one) for key, one in parts.items()
    }
    assert unordered(pairs_for(texts("a", "b"), "ties", rewards=given_rewards)) == {frozenset(("c0", "c1"))}


@given(
    st.lists(st.sampled_from("abcde"), max_size=9),
    st.sampled_from(DESIGNS),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_identical_texts_never_meet_and_mistake_07_order_is_irrelevant(
    given_texts: list[str], design: Design, seed: int, shuffle: random.Random
) -> None:
    candidates = texts(*given_texts)
    text_of = {one.id: one.text for one in candidates}
    levels = {one.id: float(one.text in "ab") for one in candidates} if design == "ties" else {}
    pairs = pairs_for(candidates, design, rewards=rewards(**levels), seed=seed)
    assert all(text_of[first] != text_of[second] for first, second in pairs)
    compared = {frozenset((text_of[first], text_of[second])) for first, second in pairs}
    assert len(compared) == len(pairs)
    mixed = list(candidates)
    shuffle.shuffle(mixed)
    assert pairs_for(mixed, design, rewards=rewards(**levels), seed=seed) == pairs


def test_bad_input() -> None:
    two = texts("a", "b")
    other = Candidate(id="x", prompt_id="q", text="c")
    with pytest.raises(InputError, match="one prompt, got those of 2: p, q"):
        pairs_for([*two, other], "all")
    with pytest.raises(InputError, match="'c0' more than once"):
        pairs_for([*two, two[0]], "all")
    with pytest.raises(InputError, match="got 'nobody'"):
        pairs_for(two, "anchor", anchor="nobody")
    with pytest.raises(InputError, match="only with the design 'anchor'"):
        pairs_for(two, "all", anchor="c0")
    with pytest.raises(InputError, match="rate the candidates first"):
        pairs_for(two, "ties")
