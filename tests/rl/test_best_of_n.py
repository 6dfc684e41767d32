"""The Best-of-N curve against every subset, against random draws, and with candidates that have no reward."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.errors import InputError, RunError
from rewards.expected_best import best_of_k_weights, expected_best
from rewards.types import Reward, Scored, Unscored
from rl.best_of_n import best_of_n_curve, best_of_n_kl
from rl.results import BestOfNCurve

values = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=7)


def rewards_of(prompts: dict[str, list[float | None]]) -> list[Scored]:
    scored: list[Scored] = []
    for prompt_id, numbers in prompts.items():
        for index, value in enumerate(numbers):
            name = f"{prompt_id}/{index}"
            if value is None:
                scored.append(Unscored(candidate_id=name, prompt_id=prompt_id, reason="no_verdict"))
            else:
                scored.append(Reward(candidate_id=name, prompt_id=prompt_id, value=value))
    return scored


@given(values)
def test_expected_best_is_the_mean_over_all_subsets(numbers: list[float]) -> None:
    n = len(numbers)
    table = np.array(numbers)
    found = expected_best(table, table, n)
    for k in range(1, n + 1):
        subsets = [max(subset) for subset in combinations(numbers, k)]
        assert found[k - 1] == pytest.approx(sum(subsets) / len(subsets), abs=1e-12)


@given(values, st.randoms(use_true_random=False))
def test_with_gold_ties_of_the_choosing_reward_are_broken_evenly(numbers: list[float], random) -> None:
    gold = [random.uniform(-1, 1) for _ in numbers]
    found = expected_best(np.array(numbers), np.array(gold), len(numbers))
    for k in range(1, len(numbers) + 1):
        worths = []
        for subset in combinations(range(len(numbers)), k):
            top = max(numbers[i] for i in subset)
            tied = [gold[i] for i in subset if numbers[i] == top]
            worths.append(sum(tied) / len(tied))
        # Averaging over a subset's ties and then over subsets is averaging over the prompt's ties, by symmetry.
        assert found[k - 1] == pytest.approx(sum(worths) / len(worths), abs=1e-12)


def test_expected_best_agrees_with_random_draws() -> None:
    generator = np.random.default_rng(3)
    numbers = generator.normal(size=60)
    draws = np.array([generator.permutation(numbers)[:17].max() for _ in range(20_000)])
    error = draws.std() / math.sqrt(len(draws))
    assert abs(expected_best(numbers, numbers, 60)[16] - draws.mean()) < 5 * error


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
def test_weights_are_probabilities_at_every_k(n: int) -> None:
    weights = best_of_k_weights(n, n)
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=0), 1.0, rtol=1e-10)
    np.testing.assert_allclose(weights[:, 0], 1 / n)
    assert weights[-1, -1] == pytest.approx(1.0)


@pytest.mark.parametrize(("i", "k"), [(1000, 1), (999, 500), (700, 300), (600, 2), (250, 250)])
def test_weights_equal_exact_integer_arithmetic(i: int, k: int) -> None:
    exact = math.comb(i - 1, k - 1) * 10**400 // math.comb(1000, k)
    logarithm = math.log10(exact) - 400 if exact else -math.inf
    found = best_of_k_weights(1000, 1000)[i - 1, k - 1]
    if logarithm > -290:
        assert math.log10(found) == pytest.approx(logarithm, abs=1e-9)
    else:
        assert found < 1e-280


def test_curve_rises_and_starts_at_the_random_baseline() -> None:
    generator = np.random.default_rng(0)
    curve = best_of_n_curve(rewards_of({f"p{i}": list(generator.normal(size=8)) for i in range(30)}), seed=1)
    means = [point.reward.value for point in curve.points]
    assert [point.k for point in curve.points] == list(range(1, 9))
    assert means == sorted(means)
    assert curve.points[0].reward.value == pytest.approx(curve.points[0].random)
    assert curve.points[0].gain.value == pytest.approx(0.0)
    for point in curve.points[1:]:
        assert point.gain.low > 0
        assert point.gain.low < point.gain.value < point.gain.high
        assert point.gain.value == pytest.approx(point.reward.value - point.random)
        assert point.gain.n == 30


def test_gain_is_paired_over_prompts() -> None:
    # Prompts differ widely in level and gain the same, so only a paired difference has a narrow interval.
    curve = best_of_n_curve(rewards_of({f"p{i}": [100.0 * i, 100.0 * i + 1] for i in range(20)}))
    last = curve.points[-1]
    assert last.gain.value == pytest.approx(0.5)
    assert last.gain.high - last.gain.low < 1e-9
    assert last.reward.high - last.reward.low > 100


def test_kl_of_best_of_k() -> None:
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(4) == pytest.approx(math.log(4) - 0.75)


def test_unscored_are_left_out_and_counted_and_never_a_low_reward() -> None:
    curve = best_of_n_curve(rewards_of({f"p{i}": [-3.0, -1.0, None] for i in range(4)}))
    assert curve.unscored == 4
    assert [point.k for point in curve.points] == [1, 2]
    assert curve.points[0].reward.value == pytest.approx(-2.0)
    assert curve.points[1].reward.value == pytest.approx(-1.0)


def test_n_is_what_nine_in_ten_prompts_have_and_the_rest_is_counted() -> None:
    prompts: dict[str, list[float | None]] = {f"p{i}": [1.0, 2.0, 3.0, 4.0] for i in range(19)}
    prompts |= {"short": [9.0], "silent": [None, None]}
    curve = best_of_n_curve(rewards_of(prompts))
    assert [point.k for point in curve.points] == [1, 2, 3, 4]
    assert (curve.prompts, curve.prompts_left_out, curve.unscored) == (19, 2, 2)
    assert curve.points[-1].reward.value == pytest.approx(4.0)  # the 9 of the short prompt has no part in any k


def test_more_failures_shorten_the_curve_and_keep_the_prompts() -> None:
    prompts: dict[str, list[float | None]] = {f"p{i}": [1.0, 2.0, 3.0] for i in range(6)}
    prompts |= {f"q{i}": [1.0, 2.0, None] for i in range(4)}
    curve = best_of_n_curve(rewards_of(prompts))
    assert (len(curve.points), curve.prompts, curve.prompts_left_out) == (2, 10, 0)


def test_gold_values_what_the_reward_chooses() -> None:
    rewards = rewards_of({"a": [1.0, 2.0], "b": [1.0, 2.0]})
    gold = {"a/0": 10.0, "a/1": 0.0, "b/0": 10.0, "b/1": 0.0}
    curve = best_of_n_curve(rewards, gold=gold)
    assert [point.reward.value for point in curve.points] == pytest.approx([5.0, 0.0])  # an over-optimised reward
    assert curve.points[1].gain.value == pytest.approx(-5.0)
    without = best_of_n_curve(rewards, gold={"a/0": 10.0, "a/1": 0.0})
    assert (without.prompts, without.unscored) == (1, 2)


def test_the_same_seed_gives_the_same_record_and_order_does_not_matter() -> None:
    rewards = rewards_of({f"p{i}": [float(i), float(i % 3)] for i in range(9)})
    first = best_of_n_curve(rewards, resamples=200, seed=5)
    assert first == best_of_n_curve(rewards, resamples=200, seed=5)
    assert first == BestOfNCurve.model_validate_json(first.to_json())
    means = [point.reward.value for point in best_of_n_curve(reversed(rewards), resamples=200, seed=5).points]
    assert means == pytest.approx([point.reward.value for point in first.points])


def test_nothing_scored_and_scored_twice_are_errors() -> None:
    with pytest.raises(RunError, match="1 without a reward"):
        best_of_n_curve(rewards_of({"a": [None]}))
    with pytest.raises(RunError, match="none with one"):
        best_of_n_curve([])
    with pytest.raises(InputError, match="second one for 'a/0'"):
        best_of_n_curve(rewards_of({"a": [1.0]}) * 2)


@settings(max_examples=25, deadline=None)
@given(st.lists(values, min_size=1, max_size=6))
def test_any_ragged_input_gives_a_curve_over_one_set_of_prompts(table: list[list[float]]) -> None:
    curve = best_of_n_curve(rewards_of({f"p{i}": list(row) for i, row in enumerate(table)}), resamples=50)
    assert curve.prompts + curve.prompts_left_out == len(table)
    assert curve.prompts >= 0.9 * len(table)
    assert {point.reward.n for point in curve.points} == {curve.prompts}
