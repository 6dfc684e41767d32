"""Every check has a run in which it speaks, and a healthy run in which none does."""

from __future__ import annotations

import pytest

from rl.health import symptoms

HEALTHY = {
    "reward_std": 0.8,
    "kl": 3.0,
    "entropy": 2.0,
    "explained_variance": 0.4,
    "failure_rate": 0.001,
    "clip_fraction": 0.1,
}


def run(steps: int = 30, **late: float | None) -> list[dict[str, float | None]]:
    """A healthy run whose second half has other values."""
    return [dict(HEALTHY) if step < steps // 2 else HEALTHY | late for step in range(steps)]


def test_a_healthy_run_has_no_symptoms():
    assert symptoms(run()) == []
    assert symptoms([]) == []
    assert symptoms([{}] * 20) == []


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("reward_std", 0.0, "expected ratings"),
        ("kl", 80.0, "adaptive"),
        ("entropy", 0.05, "learning rate"),
        ("explained_variance", -0.2, "warm-up"),
        ("failure_rate", 0.3, "reasons"),
        ("clip_fraction", 0.6, "epochs"),
    ],
)
def test_a_sick_run_is_told_what_to_try(name: str, value: float, advice: str):
    (found,) = symptoms(run(**{name: value}))
    assert found.name == name
    assert found.value == pytest.approx(value)
    assert advice in found.text


def test_a_critic_is_given_time():
    early = [HEALTHY | {"explained_variance": -3.0} for _ in range(8)]
    assert symptoms(early) == []


def test_values_that_broke_are_left_out():
    assert symptoms(run(kl=None, entropy=float("nan"))) == []


def test_what_is_over_is_over():
    steps = run(kl=80.0) + run()[:15]
    assert symptoms(steps) == []
