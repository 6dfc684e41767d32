"""Health checks of on-policy training: a number, its limit, and a sentence that says what to try.

Each check looks at the metrics of recent steps by the names that `metrics.jsonl` has, and says nothing of a metric
that is not there. The limits are round numbers and no laws: a warning is a reason to look. Nothing here stops a run;
the guard (`rl.guard`), the failure budget and a NaN do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from rewards.types import Record
from rl.metrics import Series

Metrics = Mapping[str, float | None]
"""One step's metrics; None where a value was not finite."""

RECENT = 10
"""Steps that a check averages over."""


class Symptom(Record):
    """What a check found."""

    name: str
    value: float
    limit: float
    text: str
    """The number, its limit, and what to try."""


_Check = Callable[[Sequence[Metrics], int], Symptom | None]


def symptoms(steps: Sequence[Metrics], recent: int = RECENT) -> list[Symptom]:
    """Everything that looks wrong in the last `recent` steps, in a fixed order. steps: from the first on."""
    found = (check(steps, recent) for check in _CHECKS)
    return [one for one in found if one is not None]


def symptoms_in(series: Series) -> list[Symptom]:
    """What looks wrong at the end of any training that `series` has metrics of."""
    stages: dict[str, dict[int, dict[str, float | None]]] = {}
    for (stage, metric), values in series.items():
        for step, value in values.items():
            stages.setdefault(stage, {}).setdefault(step, {})[metric] = value
    trained = [steps for steps in stages.values() if any("loss" in metrics for metrics in steps.values())]
    return [found for steps in trained for found in symptoms([steps[step] for step in sorted(steps) if step])]


def _values(steps: Sequence[Metrics], name: str) -> list[float]:
    every = (step.get(name) for step in steps)
    return [value for value in every if value is not None and math.isfinite(value)]


def _recent(steps: Sequence[Metrics], name: str, recent: int) -> float | None:
    values = _values(steps[-recent:], name)
    return fmean(values) if values else None


def _flat_reward(steps: Sequence[Metrics], recent: int) -> Symptom | None:
    spread = _recent(steps, "reward_std", recent)
    if spread is None or spread > 1e-6:
        return None
    return Symptom(
        name="reward_std",
        value=spread,
        limit=1e-6,
        text=f"All rewards of the last steps were equal (standard deviation {spread:.2g}), so nothing is learned. Try "
        "expected ratings (direct mode), a judge with more levels, or harder prompts.",
    )


def _collapsed_entropy(steps: Sequence[Metrics], recent: int) -> Symptom | None:
    values = _values(steps, "entropy")
    if len(values) <= recent:
        return None
    start, now = fmean(values[: max(1, recent // 2)]), fmean(values[-recent:])
    limit = 0.1 * start
    if start <= 0 or now >= limit:
        return None
    return Symptom(
        name="entropy",
        value=now,
        limit=limit,
        text=f"The policy's entropy fell to {now:.3g} nats a token, under a tenth of the {start:.3g} it began with: "
        "it writes nearly the same each time. Try a lower learning rate, a larger KL coefficient, or fewer epochs.",
    )


def _blind_critic(steps: Sequence[Metrics], recent: int) -> Symptom | None:
    if len(_values(steps, "explained_variance")) <= recent:
        return None  # a critic starts from nothing
    share = _recent(steps, "explained_variance", recent)
    if share is None or share > 0:
        return None
    return Symptom(
        name="explained_variance",
        value=share,
        limit=0.0,
        text=f"The critic explains {share:.2f} of the variance of the returns: no better than a constant. Try more "
        "critic warm-up steps, a larger critic learning rate, or scaled rewards.",
    )


def _above(name: str, limit: float, say: Callable[[float], str]) -> _Check:
    """A check that the recent mean of a metric is at most a limit."""

    def check(steps: Sequence[Metrics], recent: int) -> Symptom | None:
        value = _recent(steps, name, recent)
        return (
            None if value is None or value <= limit else Symptom(name=name, value=value, limit=limit, text=say(value))
        )

    return check


_CHECKS: tuple[_Check, ...] = (
    _flat_reward,
    _above(
        "kl",
        30.0,
        lambda kl: (
            f"KL from the reference is {kl:.1f} nats a response (limit 30): the policy writes what the "
            "reference would not. Try a larger KL coefficient, the adaptive controller, or a lower learning rate."
        ),
    ),
    _collapsed_entropy,
    _blind_critic,
    _above(
        "failure_rate",
        0.02,
        lambda share: (
            f"{share:.1%} of the samples could not be judged (limit 2%): they take no part in learning. "
            "Look at the reasons in the report; longer answers, an overloaded server or a foreign protocol are usual."
        ),
    ),
    _above(
        "frac_reward_zero_std",
        0.5,
        lambda share: (
            f"In {share:.0%} of the groups all rewards are equal (limit 50%), and such groups teach nothing. Try "
            "expected ratings, comparisons within the group (reward.compare), or a higher temperature."
        ),
    ),
    _above(
        "clip_fraction",
        0.3,
        lambda share: (
            f"{share:.0%} of the tokens (RLOO: responses) hit the clip of the surrogate (limit 30%): each step asks "
            "for more than it may move. Try a lower learning rate or fewer epochs over a batch."
        ),
    ),
)
