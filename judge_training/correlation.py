"""Correlations with intervals: over all observations, and within each prompt.

Pooled, a correlation mixes two things: knowing which prompts are answered well, and which of the answers to one prompt
is the better. A reward is used for the second, so that is measured apart: the correlation within each prompt, and the
mean of these. Intervals draw whole prompts. Where one side is constant there is no correlation, and no number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rewards.intervals import RESAMPLES, Interval, bootstrap
from rewards.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Measure = Callable[[Floats, Floats], float]


class Correlations(Record):
    """Three correlations of the same numbers; each is None where it is not defined."""

    n: int
    """Observations, or (within prompts) prompts in which there is a correlation."""
    pearson: Interval | None
    spearman: Interval | None
    kendall: Interval | None
    """Kendall's tau-b."""


def pearson(a: Floats, b: Floats) -> float:
    """Pearson's correlation; NaN where one side is constant or there are fewer than two observations."""
    import numpy as np

    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def spearman(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN as for `pearson`."""
    from scipy.stats import rankdata

    return pearson(rankdata(a), rankdata(b))


def kendall(a: Floats, b: Floats) -> float:
    """Kendall's tau-b; NaN as for `pearson`."""
    import numpy as np
    from scipy.stats import kendalltau

    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(kendalltau(a, b).statistic)


def correlations(a: Floats, b: Floats, prompts: Sequence[str], *, resamples: int = RESAMPLES) -> Correlations:
    """Over all observations; `a`, `b` and `prompts` (the cluster of each) have shape (n,)."""

    def one(measure: Measure) -> Interval | None:
        return bootstrap(lambda at: measure(a[at], b[at]), prompts, resamples=resamples)

    return Correlations(n=len(a), pearson=one(pearson), spearman=one(spearman), kendall=one(kendall))


def correlations_within(a: Floats, b: Floats, prompts: Sequence[str], *, resamples: int = RESAMPLES) -> Correlations:
    """The mean over prompts of the correlation within each; prompts without one are left out."""
    import numpy as np

    groups = [np.array(at) for at in positions_by(prompts).values()]

    def one(measure: Measure) -> Interval | None:
        values = np.array([measure(a[at], b[at]) for at in groups])
        return mean_interval(values[~np.isnan(values)], resamples=resamples)

    told = sum(bool(len(at) > 1 and np.ptp(a[at]) > 0 and np.ptp(b[at]) > 0) for at in groups)
    return Correlations(n=told, pearson=one(pearson), spearman=one(spearman), kendall=one(kendall))


def positions_by(names: Sequence[str]) -> dict[str, list[int]]:
    """Where each name stands."""
    found: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        found.setdefault(name, []).append(position)
    return found


def mean_interval(values: Floats, *, resamples: int = RESAMPLES) -> Interval | None:
    """The mean of independent values (one a prompt) with its bootstrap interval; None without values."""
    names = [str(number) for number in range(len(values))]
    return bootstrap(lambda at: float(values[at].mean()), names, resamples=resamples)
