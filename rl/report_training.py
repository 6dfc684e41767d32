"""What the report shows of trainings: their curves, and where the time of an on-policy one went.

The numbers come from metrics.jsonl; a step that was started again counts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rl import figures
from rl.metrics import Series

_CURVES = ("loss", "rewards/accuracies", "rewards/margins", "reward", "mean_token_accuracy", "kl", "grad_norm")
"""Metrics of a training stage that are drawn, at most three of a stage, in this order of preference."""
_PARTS = {
    "seconds/generate": "sampling responses",
    "seconds/judge": "waiting for the judge",
    "seconds/guard": "the guard's looks",
    "seconds/learn": "learning, and all else",
}


def stages(series: Series) -> list[str]:
    """The stages that trained something."""
    return list(dict.fromkeys(stage for stage, name in series if name == "loss"))


def curves(series: Series) -> list[tuple[str, Markup]]:
    """Curves of every stage that logged a loss, or more than a few steps of something known."""
    drawn = []
    for position, stage in enumerate(stages(series)):
        lines = [figures.Line(name, values) for name in _CURVES if (values := series.get((stage, name)))]
        lines = [line for line in lines if any(value is not None for value in line.values.values())][:3]
        if lines:
            drawn.append((stage, figures.training_curves(str(position), f"Training: {stage}", lines)))
    return drawn


@dataclass(frozen=True)
class TimePart:
    """What a part of all steps took."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True)
class StepTimes:
    """Where the steps of a training spent their time."""

    stage: str
    steps: int
    parts: Sequence[TimePart]


def step_times(series: Series) -> list[StepTimes]:
    """One for every on-policy training."""
    found = []
    for stage in stages(series):
        sums = {name: _total(series, stage, key) for key, name in _PARTS.items() if (stage, key) in series}
        total = sum(sums.values())
        if total > 0:
            parts = [TimePart(name, seconds, seconds / total) for name, seconds in sums.items()]
            found.append(StepTimes(stage, len(series[stage, "seconds/learn"]), parts))
    return found


def _total(series: Series, stage: str, key: str) -> float:
    return sum(value for value in series[stage, key].values() if value is not None)
