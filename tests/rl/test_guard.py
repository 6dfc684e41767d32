"""The guard: Gao et al.'s curves are found again, gold that falls for good stops, and noise does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.intervals import Interval
from rl.guard import CurveFit, GuardPoint, best, fit_curve, over_optimised, repetition


def point(step: int, gold: float, half: float = 0.1, kl: float = 1.0) -> GuardPoint:
    around = Interval(value=gold, low=gold - half, high=gold + half, n=20)
    return GuardPoint(step=step, kl=kl, proxy=around, gold=around, length=30.0, repetition=0.0)


@pytest.mark.parametrize("shape", ["rl", "best_of_n"])
@given(alpha=st.floats(0.2, 3), beta=st.floats(0.05, 1), count=st.integers(3, 30))
def test_a_curve_is_found_again(shape: str, alpha: float, beta: float, count: int):
    kl = np.linspace(0.1, 40, count).tolist()
    true = CurveFit(shape=shape, alpha=alpha, beta=beta, residual=0.0, points=count)
    found = fit_curve(kl, [true.at(math.sqrt(one)) for one in kl], shape)
    assert found is not None
    assert found.alpha == pytest.approx(alpha, abs=1e-6)
    assert found.beta == pytest.approx(beta, abs=1e-6)
    assert found.residual < 1e-6
    assert found.points == count


@pytest.mark.parametrize("shape", ["rl", "best_of_n"])
@given(alpha=st.floats(0.2, 2), beta=st.floats(0.3, 2))
def test_no_other_place_is_higher_than_the_peak(shape: str, alpha: float, beta: float):
    curve = CurveFit(shape=shape, alpha=alpha, beta=beta, residual=0.0, points=3)
    peak = curve.peak
    assert peak is not None
    assert peak > 0
    around = [curve.at(peak * (1 + change)) for change in (-0.5, -0.01, 0.01, 0.5)]
    assert curve.at(peak) > max(around)


def test_a_curve_that_only_rises_has_no_peak():
    assert CurveFit(shape="rl", alpha=1.0, beta=-0.1, residual=0.0, points=3).peak is None
    assert CurveFit(shape="best_of_n", alpha=-1.0, beta=0.1, residual=0.0, points=3).peak is None
    assert CurveFit(shape="rl", alpha=1.0, beta=0.5, residual=0.0, points=3).at(0.0) == 0.0


def test_too_few_points_have_no_curve():
    assert fit_curve([0.0, 1.0, 2.0], [0.0, 1.0, 1.5]) is None
    assert fit_curve([2.0, 2.0, 2.0], [1.0, 1.1, 0.9]) is None


def test_gold_that_stays_below_the_interval_of_its_best_stops():
    points = [point(0, 1.0), point(10, 2.0), point(20, 1.7), point(30, 1.6)]
    assert not over_optimised(points[:3], patience=2)
    assert over_optimised(points, patience=2)
    assert over_optimised(points[:3], patience=1)
    assert best(points) == points[1]


def test_noise_within_the_interval_and_a_recovery_do_not_stop():
    within = [point(0, 1.0), point(10, 2.0), point(20, 1.95), point(30, 1.91)]
    recovered = [point(0, 1.0), point(10, 2.0), point(20, 1.5), point(30, 1.99)]
    rising = [point(0, 2.0), point(10, 1.0), point(20, 2.5)]
    for points in (within, recovered, rising, [], within[:1]):
        assert not over_optimised(points, patience=2)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.integers(1, 4))
def test_the_best_is_never_after_a_stop(golds: list[float], patience: int):
    points = [point(step, gold) for step, gold in enumerate(golds)]
    if over_optimised(points, patience):
        top = best(points)
        assert top is not None
        assert top.step < len(points) - patience


def test_repetition_counts_runs_that_came_before():
    assert repetition("one two three") == 0.0
    assert repetition("a b c d e f g h") == 0.0
    assert repetition("a b c d " * 5) == pytest.approx(1 - 4 / 17)
    assert repetition("no no no no no no no") == pytest.approx(0.75)
