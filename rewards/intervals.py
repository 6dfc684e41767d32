"""Intervals: a number is never reported without how sure it is.

Shares get Wilson's score interval, which stays inside 0..1 and is right at 0 and at 1; anything else gets a
percentile bootstrap that draws whole clusters (prompts), since answers to one prompt are not independent.
Nothing to measure gives None, not a number with an interval of full width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

from pydantic import Field

from rewards.errors import InputError
from rewards.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 1000


class Interval(Record):
    """A number with its confidence interval."""

    value: float
    low: float
    high: float
    level: float = Field(default=0.95, gt=0.0, lt=1.0)
    n: int = Field(ge=0)
    """Observations behind it."""


def wilson(count: int, n: int, level: float = 0.95) -> Interval | None:
    """Share `count / n` with its score interval (Wilson 1927); None when n is 0.

    Raises InputError unless 0 <= count <= n.
    """
    if not 0 <= count <= n:
        raise InputError(f"expected 0 <= count <= n, got {count} of {n}")
    if n == 0:
        return None
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = count / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # Rounding must not push the interval past the share itself, which is its end at 0 and at 1.
    low, high = max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
    return Interval(value=share, low=low, high=high, level=level, n=n)


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    clusters: Sequence[str],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap of a statistic over clusters of observations.

    `statistic` takes the positions of the observations to use (with repeats) and gives a number, or NaN where it
    is not defined (a correlation of constants). `clusters` names the cluster (prompt) of every observation.
    None when the statistic is not defined on the data; resamples on which it is not defined are left out.

    Drawing again adds noise a second time, which moves some statistics (a correlation near 1 goes down): where the
    number itself lies beyond the percentiles, its interval ends at it.
    """
    import numpy as np

    value = float(statistic(np.arange(len(clusters)))) if clusters else math.nan
    if math.isnan(value):
        return None
    numbers = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    cluster_of = np.array([numbers[name] for name in clusters], dtype=np.intp)
    random = np.random.default_rng(seed)

    def resample() -> NDArray[np.intp]:
        drawn = np.bincount(random.integers(len(numbers), size=len(numbers)), minlength=len(numbers))
        return np.repeat(np.arange(len(clusters)), drawn[cluster_of])

    values = np.array([statistic(resample()) for _ in range(resamples)])
    values = values[~np.isnan(values)]
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail]) if len(values) else (value, value)
    low, high = min(float(low), value), max(float(high), value)
    return Interval(value=value, low=low, high=high, level=level, n=len(clusters))
