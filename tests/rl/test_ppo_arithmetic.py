"""PPO's arithmetic against plain NumPy in float64, on random ragged batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.errors import InputError
from rl.advantages import gae, whiten
from rl.kl import KLController, kl_estimate
from rl.ppo_loss import clipped_surrogate, clipped_value_loss, explained_variance
from rl.prompt_order import prompt_order
from rl.reward_scaling import RunningScale, shape_rewards

CLOSE = {"rtol": 1e-6, "atol": 1e-6}
lengths = st.lists(st.integers(0, 9), min_size=1, max_size=7)
seeds = st.integers(0, 2**32 - 1)
shares = st.floats(0.0, 1.0)
few = settings(max_examples=60, deadline=None)


def ragged(lengths: list[int], seed: int, count: int, pad: int = 1) -> tuple[np.ndarray, list[np.ndarray]]:
    """A mask and random arrays, with garbage where the mask is not."""
    rng = np.random.default_rng(seed)
    shape = (len(lengths), max(lengths) + pad)
    mask = np.arange(shape[1]) < np.array(lengths)[:, None]
    return mask, [np.where(mask, rng.normal(size=shape), np.nan) for _ in range(count)]


def torched(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def one_gae(rewards: np.ndarray, values: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    """By the definition: a sum of discounted errors for each token, no recursion."""
    after = np.append(values[1:], 0.0)
    delta = rewards + gamma * after - values
    return np.array([sum((gamma * lam) ** k * delta[t + k] for k in range(len(delta) - t)) for t in range(len(delta))])


@given(lengths, seeds, shares, shares)
@few
def test_advantages_are_the_discounted_sums_of_errors(lengths: list[int], seed: int, gamma: float, lam: float):
    mask, (rewards, values) = ragged(lengths, seed, 2)
    advantages, returns = gae(*torched(rewards, values, mask), gamma=gamma, lam=lam)
    for row, length in enumerate(lengths):
        expected = one_gae(rewards[row, :length], values[row, :length], gamma, lam)
        np.testing.assert_allclose(advantages[row, :length], expected, **CLOSE)
        np.testing.assert_allclose(returns[row, :length], expected + values[row, :length], **CLOSE)
        assert not advantages[row, length:].any()
        assert not returns[row, length:].any()


@given(lengths, seeds)
@few
def test_whitening_counts_valid_tokens_only(lengths: list[int], seed: int):
    mask, (values,) = ragged(lengths, seed, 1)
    white = whiten(*torched(values, mask)).numpy()
    found = values[mask]
    expected = (found - found.mean()) / np.sqrt(found.var() + 1e-8) if found.size else found
    np.testing.assert_allclose(white[mask], expected, **CLOSE)
    assert not white[~mask].any()


@given(lengths.filter(lambda found: len(found) > 1 and sum(found) > 0), seeds, st.integers(0, 6))
@few
def test_a_row_that_is_masked_leaves_no_trace(lengths: list[int], seed: int, which: int):
    mask, arrays = ragged(lengths, seed, 2, pad=4)
    rewards, values = (torch.from_numpy(array).float() for array in arrays)
    masked = torch.from_numpy(mask)
    masked[which % len(lengths)] = False
    rest = [row for row in range(len(lengths)) if row != which % len(lengths)]
    width = max([1, *(lengths[row] for row in rest)])
    with_it = whiten(gae(rewards, values, masked)[0], masked)
    cut = masked[rest, :width]
    without = whiten(gae(rewards[rest, :width], values[rest, :width], cut)[0], cut)
    assert torch.equal(with_it[rest, :width], without)


def test_whitening_over_two_processes_is_that_over_both():
    values = torch.arange(12.0).reshape(3, 4)
    mask = torch.ones(3, 4, dtype=torch.bool)
    parts, other = (values[:1], mask[:1]), values[1:].flatten()
    mean = values.mean()
    answers = iter([torch.tensor([other.numel(), other.sum()]), ((other - mean) ** 2).sum()[None]])
    found = whiten(*parts, total=lambda mine: mine + next(answers))
    torch.testing.assert_close(found, whiten(values, mask)[:1])


def test_shapes_that_differ_are_refused():
    with pytest.raises(InputError, match="of one shape"):
        gae(torch.zeros(2, 3), torch.zeros(2, 2), torch.ones(2, 3))


@given(seeds)
@few
def test_estimators_of_kl(seed: int):
    rng = np.random.default_rng(seed)
    logps, reference = rng.normal(-2, 1, size=(2, 40))
    ratio = np.exp(logps - reference)
    expected = {"k1": np.log(ratio), "k2": np.log(ratio) ** 2 / 2, "k3": 1 / ratio - 1 + np.log(ratio)}
    for name, value in expected.items():
        np.testing.assert_allclose(kl_estimate(*torched(logps, reference), name), value, **CLOSE)


def test_k1_and_k3_are_unbiased_and_k3_is_never_negative():
    policy, reference = np.array([0.7, 0.2, 0.1]), np.array([0.5, 0.25, 0.25])
    divergence = float((policy * np.log(policy / reference)).sum())
    found = {name: kl_estimate(*torched(np.log(policy), np.log(reference)), name).numpy() for name in ("k1", "k3")}
    assert float(policy @ found["k1"]) == pytest.approx(divergence)
    assert float(policy @ found["k3"]) == pytest.approx(divergence)
    assert found["k3"].min() >= 0 > found["k1"].min()


def test_the_adaptive_controller_steers_to_its_target_and_the_fixed_one_stays():
    fixed, adaptive = KLController(0.1), KLController(0.1, target=6.0, horizon=1000)
    for controller in (fixed, adaptive):
        controller.update(60.0, responses=50)
    assert fixed.coefficient == 0.1
    assert adaptive.coefficient == pytest.approx(0.1 * (1 + 0.2 * 50 / 1000))
    adaptive.update(5.4, responses=100)
    assert adaptive.coefficient == pytest.approx(0.101 * (1 - 0.1 * 0.1))
    before = adaptive.coefficient
    adaptive.update(math.nan, responses=100)
    assert adaptive.coefficient == before
    with pytest.raises(InputError, match="above 0 with a target"):
        KLController(0.0, target=6.0)


@given(seeds, st.floats(0.01, 0.9), st.floats(0.01, 0.9))
@few
def test_the_clipped_surrogate(seed: int, low: float, high: float):
    rng = np.random.default_rng(seed)
    logps, old, advantages = rng.normal(0, 0.5, size=(3, 40))
    loss, held = clipped_surrogate(*torched(logps, old, advantages), low=low, high=high)
    ratio = np.exp(logps - old)
    bounded = np.minimum(np.maximum(ratio, 1 - low), 1 + high)
    np.testing.assert_allclose(loss, -np.minimum(ratio * advantages, bounded * advantages), **CLOSE)
    expected = ((ratio > 1 + high) & (advantages > 0)) | ((ratio < 1 - low) & (advantages < 0))
    np.testing.assert_array_equal(held, expected)


def test_held_tokens_have_no_gradient():
    logps = torch.tensor([1.0, -1.0, 1.0, 0.0], requires_grad=True)
    loss, held = clipped_surrogate(logps, torch.zeros(4), torch.tensor([1.0, -1.0, -1.0, 1.0]))
    (gradient,) = torch.autograd.grad(loss.sum(), logps)
    assert held.tolist() == [True, True, False, False]
    assert (gradient == 0).tolist() == [True, True, False, False]


@given(seeds, st.one_of(st.none(), st.floats(0.01, 2.0)))
@few
def test_the_clipped_value_loss(seed: int, clip: float | None):
    rng = np.random.default_rng(seed)
    values, old, returns = rng.normal(0, 2, size=(3, 40))
    expected = (values - returns) ** 2
    if clip is not None:
        near = np.clip(values, old - clip, old + clip)
        expected = np.maximum(expected, (near - returns) ** 2)
    np.testing.assert_allclose(clipped_value_loss(*torched(values, old, returns), clip=clip), expected / 2, **CLOSE)


def test_explained_variance():
    returns = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(torch.full((4,), 9.0), returns) == 0.0
    assert explained_variance(-returns, returns) == pytest.approx(-3.0)
    assert math.isnan(explained_variance(returns, torch.ones(4)))
    assert math.isnan(explained_variance(torch.zeros(0), torch.zeros(0)))


@given(st.lists(st.lists(st.floats(-1e3, 1e3), max_size=6), min_size=1, max_size=6))
@few
def test_the_running_scale_is_that_of_all_rewards_at_once(batches: list[list[float]]):
    scale = RunningScale()
    for batch in batches:
        scale.update(torch.tensor([*batch, math.nan], dtype=torch.float64))
    every = np.array([reward for batch in batches for reward in batch])
    assert scale.count == every.size
    if every.size:
        assert scale.mean == pytest.approx(every.mean(), abs=1e-6)
        assert scale.std == pytest.approx(every.std() if every.std() > 1e-5 else scale.std, abs=1e-6)


def test_rewards_are_scaled_then_clipped_then_fined():
    scale = RunningScale()
    scale.update(torch.tensor([0.0, 2.0, math.nan]))  # mean 1, std 1
    shaped = shape_rewards(
        torch.tensor([1.5, 100.0, -100.0, math.nan]),
        torch.tensor([True, True, False, False]),
        scale=scale,
        clip=5.0,
        missing_eos_penalty=1.0,
    )
    assert shaped[:3].tolist() == [0.5, 5.0, -6.0]
    assert math.isnan(shaped[3])
    as_it_is = shape_rewards(torch.tensor([7.0]), torch.tensor([1]), scale=None, clip=None, missing_eos_penalty=1.0)
    assert as_it_is.tolist() == [7.0]


def test_prompts_go_round_the_scenarios_in_every_pass():
    scenarios = ["a"] * 6 + ["b"] * 2 + [None]
    order = prompt_order(scenarios, [1] * 9, 18, order="balanced", seed=1)
    assert sorted(order[:9]) == sorted(order[9:]) == list(range(9))
    assert {scenarios[position] for position in order[:3]} == {"a", "b", None}
    assert {scenarios[position] for position in order[3:5]} == {"a", "b"}
    assert order[:9] != order[9:]
    assert order == prompt_order(scenarios, [1] * 9, 18, order="balanced", seed=1)
    assert prompt_order(scenarios, [1] * 9, 5, order="balanced", seed=1) == order[:5]


def test_the_curriculum_goes_from_short_to_long():
    lengths = [5, 1, 4, 2]
    found = [lengths[position] for position in prompt_order([None] * 4, lengths, 8, order="short_first", seed=0)]
    assert found == sorted(lengths * 2)
    assert prompt_order([], [], 3, order="shuffled", seed=0) == []
