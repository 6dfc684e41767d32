"""Calibration maps, reliability, and abstention: what a judge's numbers are worth, and what they become."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from judge_training.abstention import DecidedPair, abstention_curves
from judge_training.agreement import JudgedPair, pair_agreement
from judge_training.calibration import calibrate_ratings, calibrate_verdicts, fit_map, reliability
from judge_training.rating_agreement import RatedResponse
from judge_training.score_sheets import calibration_sheet
from rewards.calibration import CalibrationMap
from rewards.errors import InputError, MissingFileError
from rewards.intervals import Interval
from rewards.types import Rating, VerdictProbabilities, Winner


def value(one: Interval | None) -> float:
    assert one is not None
    return one.value


# ---------------------------------------------------------------- the map


MAP = CalibrationMap(kind="rating", x=(1.0, 2.0, 4.0), y=(2.0, 2.0, 6.0), n=30, judge="abc", labels="people")


def test_the_map_by_hand() -> None:
    assert [MAP.apply(x) for x in (-5, 1, 1.5, 2, 3, 4, 99)] == [2, 2, 2, 2, 4, 6, 6]
    assert MAP.apply_rating(Rating(value=4, expected=3.0)) == 4.0
    one = CalibrationMap(kind="rating", x=(3.0,), y=(7.0,), n=1)
    assert {one.apply(x) for x in (-1, 3, 9)} == {7.0}


def test_a_map_of_probabilities_leaves_ties_alone() -> None:
    curve = CalibrationMap(kind="probability", x=(0.0, 0.5, 1.0), y=(0.25, 0.5, 0.75), n=9)
    found = curve.apply_verdict(VerdictProbabilities(first=0.8, second=0.0, tie=0.2))
    assert found.model_dump() == pytest.approx({"first": 0.6, "second": 0.2, "tie": 0.2})
    sure = VerdictProbabilities(first=0.0, second=0.0, tie=1.0)
    assert curve.apply_verdict(sure) == sure
    with pytest.raises(InputError, match="of kind 'rating', got one of kind 'probability'"):
        curve.apply_rating(Rating(value=3))
    with pytest.raises(InputError, match="of kind 'probability', got one of kind 'rating'"):
        MAP.apply_verdict(sure)


def test_a_map_is_plain_json_both_ways(tmp_path: Path) -> None:
    path = MAP.save(tmp_path / "maps" / "map.json")
    assert CalibrationMap.load(path) == MAP
    assert json.loads(path.read_text())["x"] == [1.0, 2.0, 4.0]
    with pytest.raises(MissingFileError, match="expected a calibration map"):
        CalibrationMap.load(tmp_path / "none.json")
    for change, message in (
        ({"x": [1.0, 1.0, 4.0]}, "expected rising x"),
        ({"y": [2.0, 1.0, 6.0]}, "never fall"),
        ({"y": [2.0, 6.0]}, "as many y as x"),
        ({"x": [], "y": []}, "at least 1 item"),
        ({"kind": "probability"}, "from 0 to 1"),
        ({"z": 1}, "Extra inputs"),
    ):
        path.write_text(json.dumps(json.loads(MAP.model_dump_json()) | change))
        with pytest.raises(InputError, match=message):
            CalibrationMap.load(path)


points = st.lists(
    st.tuples(st.floats(0, 1, allow_subnormal=False).map(lambda x: round(x, 6)), st.floats(0, 1)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(points, st.lists(st.floats(-1, 2), min_size=2, max_size=20))
def test_a_fitted_map_is_scikit_learn_s_regression_and_never_falls(
    rows: list[tuple[float, float]], asked: list[float]
) -> None:
    x, y = [one for one, _ in rows], [two for _, two in rows]
    fitted = fit_map("rating", x, y)
    expected = IsotonicRegression(out_of_bounds="clip").fit(x, y).predict(sorted(asked))
    found = [fitted.apply(one) for one in sorted(asked)]
    assert found == pytest.approx(expected.tolist(), abs=1e-6)
    assert all(left <= right for left, right in pairwise(found))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1).map(lambda x: round(x, 4)), st.sampled_from([0.0, 1.0])), min_size=1, max_size=25
    )
)
def test_a_map_of_probabilities_knows_no_position(rows: list[tuple[float, float]]) -> None:
    fitted = fit_map("probability", [one for one, _ in rows], [two for _, two in rows])
    for share in (0.0, 0.2, 0.5, 0.77, 1.0):
        assert fitted.apply(share) == pytest.approx(1 - fitted.apply(1 - share), abs=1e-9)


# ---------------------------------------------------------------- reliability and gain


def verdicts(n: int, told: float, true: float, seed: int = 0) -> list[JudgedPair]:
    """A judge that gives the better response the probability `told` and is right with probability `true`."""
    draw = random.Random(seed)
    pairs = []
    for number in range(n):
        label: Winner = draw.choice(("first", "second"))
        right = draw.random() < true
        first = told if (label == "first") == right else 1 - told
        pairs.append(
            JudgedPair(
                id=f"i{number}",
                prompt_id=f"p{number // 2}",
                label=label,
                first_order="first" if first > 0.5 else "second",
                second_order="first" if first > 0.5 else "second",
                probabilities=VerdictProbabilities(first=0.9 * first, second=0.9 * (1 - first), tie=0.1),
            )
        )
    return pairs


def test_an_overconfident_judge_is_found_out_and_mended() -> None:
    result = calibrate_verdicts(verdicts(600, told=0.95, true=0.7), judge="abc", resamples=50)
    assert value(result.before.ece) == pytest.approx(0.25, abs=0.05)
    assert result.after is not None
    assert value(result.after.ece) < 0.08
    assert result.gain is not None
    assert result.gain.low > 0
    assert result.map.apply(0.95) == pytest.approx(0.7, abs=0.05)
    assert result.map.judge == "abc"
    assert value(result.before.error) - value(result.after.error) == pytest.approx(value(result.gain))
    assert not result.certain
    assert len(calibration_sheet("c", result).tables) == 3


def test_an_honest_judge_gains_nothing() -> None:
    result = calibrate_verdicts(verdicts(600, told=0.7, true=0.7), resamples=50)
    assert value(result.before.ece) < 0.06
    assert abs(value(result.gain)) < 0.005


def test_noise_gains_nothing_on_prompts_that_the_map_has_not_seen() -> None:
    draw = random.Random(3)
    rows = [
        RatedResponse(id=str(n), prompt_id=f"p{n // 4}", reference=draw.gauss(5, 1), judge=draw.gauss(5, 1))
        for n in range(200)
    ]
    result = calibrate_ratings(rows, resamples=50)
    # Fitted and measured on the same labels, isotonic regression would seem to beat the mean.
    fitted = [(result.map.apply(one.judge or 0.0) - one.reference) ** 2 for one in rows]
    assert value(result.constant_error) - float(np.mean(fitted)) > 0.03
    assert value(result.gain_over_constant) < 0.02


def test_verdicts_without_probabilities_are_taken_as_certain() -> None:
    pairs = [one.model_copy(update={"probabilities": None}) for one in verdicts(100, told=0.9, true=0.8)]
    result = calibrate_verdicts(pairs, resamples=20)
    accuracy = np.mean([one.verdict == one.label for one in pairs])
    assert result.certain
    assert value(result.before.ece) == pytest.approx(1 - accuracy)
    assert [one.said for one in result.before.bins] == [1.0]


def test_mistake_01_what_was_not_read_is_not_calibrated_on() -> None:
    good = [RatedResponse(id=str(n), prompt_id=f"p{n}", reference=n % 5, judge=float(n % 5)) for n in range(25)]
    lost = [one.model_copy(update={"id": f"x{one.id}", "judge": None}) for one in good]
    assert calibrate_ratings(good + lost, resamples=20) == calibrate_ratings(good, resamples=20)
    with pytest.raises(InputError, match="at least 20 rated responses that the judge rated to calibrate on, got 0"):
        calibrate_ratings(lost)
    with pytest.raises(InputError, match="at least 20 pairs"):
        calibrate_verdicts([one.model_copy(update={"label": "tie"}) for one in verdicts(30, 0.9, 0.9)])


def test_reliability_bins_hold_everything_once_and_ties_together() -> None:
    said = np.array([1.0] * 7 + [2.0] * 3 + [3.0] * 10)
    came = np.array([2.0] * 7 + [2.0] * 3 + [1.0] * 10)
    found = reliability("rating", said, came, [str(n) for n in range(20)], resamples=20)
    assert [(one.said, one.n, value(one.came)) for one in found.bins] == [(1.0, 7, 2.0), (2.0, 3, 2.0), (3.0, 10, 1.0)]
    assert value(found.ece) == pytest.approx((7 * 1 + 3 * 0 + 10 * 2) / 20)


def test_one_prompt_cannot_be_left_out() -> None:
    rows = [RatedResponse(id=str(n), prompt_id="p", reference=n, judge=float(n)) for n in range(20)]
    result = calibrate_ratings(rows, resamples=5)
    assert (result.after, result.gain, result.folds) == (None, None, 1)
    assert result.map.apply(7.0) == 7.0


# ---------------------------------------------------------------- abstention


def decided(lead: float, *, right: bool, consistent: bool = True) -> DecidedPair:
    first = 0.5 + lead / 2
    verdict: Winner = "first"
    return DecidedPair(
        label="first" if right else "second",
        first_order=verdict,
        verdict=verdict if consistent else None,
        probabilities=VerdictProbabilities(first=first, second=1 - first, tie=0.0),
    )


def test_wide_margins_come_first_and_equal_ones_together() -> None:
    pairs = [decided(0.8, right=True)] * 4 + [decided(0.4, right=True), decided(0.4, right=False)] * 2
    pairs += [decided(0.1, right=False, consistent=False)] * 2
    by_consistency, by_margin = abstention_curves(pairs)
    assert [(point.coverage.value, point.accuracy.value) for point in by_consistency.points] == [
        (1.0, 0.6),
        (0.8, 0.75),
    ]
    found = [(round(point.coverage.value, 2), point.accuracy.value) for point in by_margin.points]
    assert found == [(1.0, 0.6), (0.8, 0.75), (0.4, 1.0)]
    assert [point.threshold for point in by_margin.points] == pytest.approx([0.1, 0.4, 0.8])
    assert abstention_curves(list(reversed(pairs)))[1] == by_margin
    assert abstention_curves([]) == ()


def test_pairs_with_probabilities_have_soft_numbers_that_ignore_position() -> None:
    # Always the first shown; the mean over both orders still leans to the right response.
    pairs = [
        one.model_copy(update={"first_order": "first", "second_order": "second"})
        for one in verdicts(100, told=0.6, true=1.0)
    ]
    result = pair_agreement(pairs, resamples=5)
    assert value(result.consistency) == 0.0
    assert value(result.soft_decided_accuracy) == value(result.soft_agreement) == 1.0
    assert [curve.by for curve in result.abstention_curves] == ["consistency", "margin"]
