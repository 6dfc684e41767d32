"""The guard against over-optimisation: does what we optimise (proxy) still go with what we mean (gold)?

Design decisions. The gold score comes from something that training does not see: another judge, another protocol,
another seed, or a held-out rule. Both are measured on the same held-out prompts at the same steps, beside KL, length
and repetition. Training stops when gold has stayed below the interval of its best value for several evaluations in a
row: a single bad one is noise. The curves of Gao et al. (2022, arXiv 2210.10760) are fitted to both, in d = the square
root of the KL divergence from the start policy in nats, because they say where gold is expected to turn; they are a
description and decide nothing.

This module is arithmetic on records. Sampling, judging and the trainer are elsewhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from rewards.intervals import Interval
from rewards.types import Record

Shape = Literal["rl", "best_of_n"]


class GuardPoint(Record):
    """One evaluation of the policy in training, on held-out prompts."""

    step: NonNegativeInt
    kl: NonNegativeFloat
    """From the start policy, nats a response."""
    proxy: Interval
    """Mean reward that is optimised, over prompts."""
    gold: Interval
    """Mean reward that is not."""
    length: NonNegativeFloat
    """Mean tokens of a response."""
    repetition: float = Field(ge=0.0, le=1.0)
    """Mean share of repeated word runs, see `repetition`."""


class CurveFit(Record):
    """A curve of Gao et al. through points; rewards are relative to the start policy's."""

    shape: Shape
    alpha: float
    """Reward that a unit of d gains: best_of_n at the start, rl at d = 1 (at the start its slope has no bound)."""
    beta: float
    """How fast it bends down; above 0 the curve has a peak."""
    residual: float
    """Root of the mean squared distance of the points from it."""
    points: NonNegativeInt

    def at(self, d: float) -> float:
        """Reward above the start policy's at d, the root of the KL divergence."""
        if d <= 0:
            return 0.0
        return d * (self.alpha - self.beta * (math.log(d) if self.shape == "rl" else d))

    @property
    def peak(self) -> float | None:
        """The d at which the curve is highest; None where it only rises or only falls."""
        if self.beta <= 0:
            return None
        if self.shape == "best_of_n":
            return self.alpha / (2 * self.beta) if self.alpha > 0 else None
        return math.exp(self.alpha / self.beta - 1)


def fit_curve(kl: Sequence[float], rewards: Sequence[float], shape: Shape = "rl") -> CurveFit | None:
    """The curve through rewards (above the start policy's) at KL divergences, by least squares.

    R(d) = d (alpha - beta log d) for reinforcement learning and d (alpha - beta d) for Best-of-N, with d = sqrt(KL)
    (Gao et al. 2022, arXiv 2210.10760, section 3.1). Both are linear in alpha and beta. None with fewer than three
    points at a KL above 0, or when those have all the same: two numbers cannot be told from fewer.
    """
    import numpy as np

    found = [(math.sqrt(one), reward) for one, reward in zip(kl, rewards, strict=True) if one > 0]
    if len(found) < 3 or len({d for d, _ in found}) < 2:
        return None
    d, y = np.array(found).T
    table = np.stack([d, -d * (np.log(d) if shape == "rl" else d)], axis=1)
    (alpha, beta), *_ = np.linalg.lstsq(table, y, rcond=None)
    residual = float(np.sqrt(np.mean((table @ [alpha, beta] - y) ** 2)))
    return CurveFit(shape=shape, alpha=float(alpha), beta=float(beta), residual=residual, points=len(found))


def best(points: Sequence[GuardPoint]) -> GuardPoint | None:
    """The evaluation with the highest gold; of equal ones the earliest."""
    return max(points, key=lambda point: (point.gold.value, -point.step), default=None)


def over_optimised(points: Sequence[GuardPoint], patience: int) -> bool:
    """Whether gold has been below the interval of its best value in each of the last `patience` evaluations.

    points: in the order of training. The best one is the highest of all, so evaluations before it never count.
    """
    top = best(points)
    if top is None or patience < 1 or len(points) <= patience:
        return False
    return all(point.step > top.step and point.gold.value < top.gold.low for point in points[-patience:])


def repetition(text: str, size: int = 4) -> float:
    """Share of the runs of `size` words that have occurred before in the text; 0 for a shorter text."""
    words = text.lower().split()
    runs = Counter(tuple(words[start : start + size]) for start in range(len(words) - size + 1))
    total = runs.total()
    return 1 - len(runs) / total if total else 0.0


def describe(points: Sequence[GuardPoint]) -> list[str]:
    """What Gao et al.'s curves (arXiv 2210.10760) through the points say, in words."""
    start = points[0] if points else None
    if start is None:
        return []
    said = []
    for name in ("proxy", "gold"):
        values = [getattr(point, name).value - getattr(start, name).value for point in points]
        curve = fit_curve([point.kl for point in points], values)
        if curve is not None:
            where = "no peak" if curve.peak is None else f"a peak at a KL of {curve.peak**2:.3g} nats"
            said.append(f"{name}: gain = d ({curve.alpha:.3g} - {curve.beta:.3g} log d), d = sqrt(KL): {where}")
    return said
