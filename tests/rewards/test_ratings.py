"""Ratings become rewards: parts, shaping, failures, and independence of order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.calibration import CalibrationMap
from rewards.errors import InputError
from rewards.ratings import LengthTerm, rating_level, rewards_from_ratings, unshaped
from rewards.types import Candidate, Judgment, Rating, Reward, Unparsed, Unscored, Verdict


def rated(candidate_id: str, value: float, *, prompt: str = "p", **more: float) -> Judgment:
    return Judgment(
        id=Judgment.rating_id(candidate_id),
        prompt_id=prompt,
        candidate_ids=(candidate_id,),
        outcome=Rating(value=value, **more),
    )


def failed(candidate_id: str, *, prompt: str = "p") -> Judgment:
    return Judgment(
        id=Judgment.rating_id(candidate_id),
        prompt_id=prompt,
        candidate_ids=(candidate_id,),
        outcome=Unparsed(reason="no_verdict"),
    )


def by_id(scored: list[Reward | Unscored]) -> dict[str, Reward]:
    return {one.candidate_id: one for one in scored if isinstance(one, Reward)}


def candidate(candidate_id: str, text: str, *, tokens: int | None = None, prompt: str = "p") -> Candidate:
    return Candidate(id=candidate_id, prompt_id=prompt, text=text, token_count=tokens)


def test_expected_rating_is_used_where_given() -> None:
    rewards = by_id(rewards_from_ratings([rated("a", 6.0, expected=5.4), rated("b", 7.0)]))
    assert rewards["a"].value == pytest.approx(5.4)
    assert rewards["a"].parts == {"rating": 6.0, "expectation": pytest.approx(-0.6)}
    assert rewards["b"].value == 7.0
    assert rewards["b"].parts == {"rating": 7.0}


def test_rescale_takes_the_scale_to_unit_interval_and_variance_with_it() -> None:
    judgments = [rated("a", 1.0), rated("b", 10.0), rated("c", 5.5, expected=5.5, variance=8.1)]
    rewards = by_id(rewards_from_ratings(judgments, rescale=(1, 10)))
    assert (rewards["a"].value, rewards["b"].value) == (0.0, 1.0)
    assert rewards["c"].value == pytest.approx(0.5)
    assert rewards["c"].variance == pytest.approx(8.1 / 81)
    assert rewards["a"].variance is None


def test_a_calibration_map_is_a_part_between_the_judge_and_the_shaping() -> None:
    people = CalibrationMap(kind="rating", x=(1, 5, 10), y=(2, 3, 8), n=30)
    judgments = [rated("a", 5.0), rated("b", 8.0, expected=7.5), failed("c")]
    scored = rewards_from_ratings(judgments, calibration=people, rescale=(1, 10))
    rewards = by_id(scored)
    assert rewards["a"].value == pytest.approx((3 - 1) / 9)
    assert rewards["b"].value == unshaped(rewards["b"]) == pytest.approx((5.5 - 1) / 9)
    assert rewards["b"].parts == pytest.approx({"rating": 7 / 9, "expectation": -0.5 / 9, "calibration": -2 / 9})
    assert rating_level(rewards["b"]) == pytest.approx(7 / 9)
    assert [one.candidate_id for one in scored if isinstance(one, Unscored)] == ["c"]
    centred = by_id(rewards_from_ratings(judgments, calibration=people, centre=True))
    assert centred["a"].value == pytest.approx(-1.25)


def test_what_a_map_ties_no_rounding_puts_in_an_order() -> None:
    flat = CalibrationMap(kind="rating", x=(1, 5, 6, 10), y=(2, 4.1, 4.1, 8), n=30)
    judgments = [rated(str(n), 5.0 + (n > 20), expected=5 + n / 40) for n in range(41)]
    scored = rewards_from_ratings(judgments, calibration=flat, rescale=(1, 10))
    (value,) = {one.value for one in scored if isinstance(one, Reward)}
    assert value == pytest.approx(3.1 / 9)


def test_with_a_map_the_scale_is_that_of_the_labels() -> None:
    people = CalibrationMap(kind="rating", x=(1, 10), y=(0, 1), n=30)
    (reward,) = rewards_from_ratings([rated("a", 5.5)], calibration=people, rescale=(0, 1))
    assert isinstance(reward, Reward)
    assert reward.value == pytest.approx(0.5)


def test_centre_then_clip() -> None:
    judgments = [rated("a", 2.0), rated("b", 4.0), rated("c", 9.0)]
    rewards = by_id(rewards_from_ratings(judgments, centre=True, clip=2.5))
    assert [rewards[one].value for one in "abc"] == pytest.approx([-2.5, -1.0, 2.5])
    assert rewards["a"].parts == pytest.approx({"rating": 2.0, "centre": -5.0, "clip": 0.5})
    assert unshaped(rewards["c"]) == 9.0


def test_mistake_01_failed_judgment_is_never_a_number() -> None:
    scored = rewards_from_ratings([rated("a", 2.0), failed("b"), rated("c", 4.0)], centre=True)
    missing = [one for one in scored if isinstance(one, Unscored)]
    assert [(one.candidate_id, one.reason, one.judgment_ids) for one in missing] == [("b", "no_verdict", ("rate:b",))]
    # The failure takes no part in the mean either: with a 0 for it the mean would be 2.
    assert by_id(scored)["a"].parts["centre"] == -3.0


def test_prompt_with_only_failures_has_no_rewards() -> None:
    scored = rewards_from_ratings([failed("a"), failed("b")], centre=True, clip=1.0)
    assert all(isinstance(one, Unscored) for one in scored)
    assert len(scored) == 2


def test_centring_is_within_each_prompt() -> None:
    scored = rewards_from_ratings(
        [rated("a", 1.0), rated("b", 3.0), rated("c", 8.0, prompt="q"), rated("d", 9.0, prompt="q")], centre=True
    )
    assert {key: one.value for key, one in by_id(scored).items()} == {"a": -1.0, "b": 1.0, "c": -0.5, "d": 0.5}


def test_length_against_the_mean_sums_to_zero() -> None:
    candidates = {"a": candidate("a", "xx", tokens=10), "b": candidate("b", "xxxx", tokens=30)}
    judgments = [rated("a", 5.0), rated("b", 5.0)]
    tokens = by_id(rewards_from_ratings(judgments, candidates=candidates, length=LengthTerm(weight=0.1)))
    assert (tokens["a"].parts["length"], tokens["b"].parts["length"]) == pytest.approx((1.0, -1.0))
    assert tokens["b"].value == pytest.approx(4.0)
    letters = LengthTerm(weight=0.1, unit="character")
    characters = by_id(rewards_from_ratings(judgments, candidates=candidates, length=letters))
    assert characters["a"].parts["length"] == pytest.approx(0.1)


def test_length_against_a_target_never_pays_for_silence() -> None:
    candidates = {"a": candidate("a", "", tokens=0), "b": candidate("b", "x", tokens=25)}
    term = LengthTerm(weight=0.1, target=20)
    rewards = by_id(rewards_from_ratings([rated("a", 5.0), rated("b", 5.0)], candidates=candidates, length=term))
    assert (rewards["a"].parts["length"], rewards["b"].parts["length"]) == pytest.approx((0.0, -0.5))


def test_length_mean_is_over_scored_candidates() -> None:
    candidates = {name: candidate(name, "", tokens=n) for name, n in (("a", 10), ("b", 30), ("c", 5000))}
    scored = rewards_from_ratings(
        [rated("a", 5.0), rated("b", 5.0), failed("c")], candidates=candidates, length=LengthTerm(weight=0.1)
    )
    assert by_id(scored)["a"].parts["length"] == pytest.approx(1.0)


def test_candidate_without_judgment_is_listed() -> None:
    scored = rewards_from_ratings([rated("a", 5.0)], candidates={n: candidate(n, n) for n in "ab"})
    assert scored[1] == Unscored(candidate_id="b", prompt_id="p", reason="not_judged")


def verdict() -> Judgment:
    return Judgment(id="v", prompt_id="p", candidate_ids=("a", "b"), outcome=Verdict(winner="first"))


@pytest.mark.parametrize(
    ("judgments", "arguments", "message"),
    [
        ([verdict()], {}, "expected ratings"),
        ([rated("a", 1.0), rated("a", 2.0)], {}, "two for 'a'"),
        ([rated("a", 1.0), failed("a")], {}, "two for 'a'"),
        ([rated("a", 11.0)], {"rescale": (1, 10)}, "from 1 to 10, got 11"),
        ([rated("a", 1.0)], {"rescale": (10, 1)}, "low < high"),
        ([rated("a", 1.0)], {"clip": 0.0}, "clip > 0"),
        ([rated("a", 1.0)], {"calibration": CalibrationMap(kind="probability", x=(0,), y=(0,), n=1)}, "kind 'rating'"),
        (
            [rated("a", 1.0)],
            {"calibration": CalibrationMap(kind="rating", x=(1,), y=(0.5,), n=1), "rescale": (1, 10)},
            "within rescale 1 to 10, got one that says 0.5 to 0.5",
        ),
        (
            [rated("a", 1.0).model_copy(update={"judge": "0123456789abcdef"})],
            {"calibration": CalibrationMap(kind="rating", x=(1,), y=(1,), n=1, judge="fedcba")},
            "of the judge 0123456789ab, got one of fedcba",
        ),
        ([rated("a", 1.0)], {"length": LengthTerm(weight=1)}, "expected candidates with a length term"),
        ([rated("a", 1.0)], {"candidates": {}}, "unknown 'a'"),
        ([rated("a", 1.0)], {"candidates": {"a": candidate("a", "x", prompt="q")}}, "to be of prompt 'q'"),
        (
            [rated("a", 1.0)],
            {"candidates": {"a": candidate("a", "x")}, "length": LengthTerm(weight=1)},
            "token_count",
        ),
    ],
)
def test_bad_input_says_what_is_wrong(judgments: list[Judgment], arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rewards_from_ratings(judgments, **arguments)


ratings = st.lists(
    st.tuples(st.integers(2, 20).map(lambda n: n / 2), st.none() | st.floats(1, 10), st.integers(0, 3)),
    min_size=1,
    max_size=12,
)


@given(
    ratings,
    st.booleans(),
    st.booleans(),
    st.none() | st.floats(0.01, 3),
    st.none() | st.builds(LengthTerm, weight=st.floats(0.001, 1), target=st.none() | st.floats(0, 50)),
    st.randoms(use_true_random=False),
)
def test_value_is_the_sum_of_parts_and_mistake_07_order_is_irrelevant(
    values: list[tuple[float, float | None, int]],
    rescale: bool,
    centre: bool,
    clip: float | None,
    length: LengthTerm | None,
    shuffle: random.Random,
) -> None:
    judgments = [rated(f"c{i}", v, prompt=f"p{p}", expected=e) for i, (v, e, p) in enumerate(values)]
    candidates = {
        f"c{i}": candidate(f"c{i}", "x" * i, tokens=i * 7, prompt=f"p{p}") for i, (_, _, p) in enumerate(values)
    }
    scale = (1.0, 10.0) if rescale else None

    def shaped(given: list[Judgment]) -> list[Reward | Unscored]:
        return rewards_from_ratings(
            given, candidates=candidates, rescale=scale, centre=centre, clip=clip, length=length
        )

    scored = shaped(judgments)
    for (value, expected, _), judgment in zip(values, judgments, strict=True):
        one = by_id(scored)[judgment.candidate_ids[0]]
        assert one.value == sum(one.parts.values())
        score = value if expected is None else expected
        assert unshaped(one) == pytest.approx((score - 1) / 9 if rescale else score)
        assert rating_level(one) == pytest.approx((value - 1) / 9 if rescale else value, abs=1e-9)
        bounded = one.value - one.parts.get("length", 0.0)
        assert clip is None or abs(bounded) <= clip + 1e-9
        assert Reward.model_validate_json(one.to_json()) == one
    mixed = list(judgments)
    shuffle.shuffle(mixed)
    assert shaped(mixed) == scored


def test_mistake_07_rewards_go_by_id_not_by_position() -> None:
    judgments = [rated("a", 1.0), rated("b", 9.0), failed("c"), rated("d", 5.0)]
    forward, backward = rewards_from_ratings(judgments), rewards_from_ratings(reversed(judgments))
    assert forward == backward
    assert {key: one.value for key, one in by_id(forward).items()} == {"a": 1.0, "b": 9.0, "d": 5.0}
