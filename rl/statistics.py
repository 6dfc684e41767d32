"""Bootstrap over prompts: the intervals of all reports.

Prompts are the independent units; candidates and comparisons of one prompt are not, so a prompt is drawn with
everything that belongs to it. Every column of a table sees the same draws, which makes differences paired.
Percentile intervals (Efron and Tibshirani 1993, chapter 13), no bias correction: with few prompts they are a
little narrow, and with one prompt they have no width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rl.results import Estimate

Floats = NDArray[np.float64]

_CHUNK_CELLS = 4_000_000
"""Draws x prompts held in memory at once (32 MB of float64)."""


def _draws(prompts: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each prompt is drawn, as blocks of shape (resamples of the block, prompts)."""
    generator = np.random.default_rng(seed)
    block = max(1, _CHUNK_CELLS // prompts)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        yield generator.multinomial(prompts, np.full(prompts, 1.0 / prompts), size=size).astype(np.float64)


def bootstrap_means(table: Floats, *, resamples: int, seed: int, level: float = 0.95) -> list[Estimate]:
    """The mean of every column with its interval; `table` has shape (prompts, columns), prompts at least 1.

    All columns share the draws, so the interval of a column of differences is that of the paired difference.
    """
    prompts = table.shape[0]
    means = np.concatenate([counts @ table / prompts for counts in _draws(prompts, resamples, seed)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    columns = zip(table.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    return [Estimate(value=value, low=lower, high=upper, level=level, n=prompts) for value, lower, upper in columns]


def bootstrap_ratio(
    numerators: Floats, denominators: Floats, *, resamples: int, seed: int, level: float = 0.95
) -> Estimate:
    """sum(numerators) / sum(denominators) with its interval; both have shape (prompts,), every denominator > 0."""
    prompts = numerators.shape[0]
    table = np.stack([numerators, denominators], axis=1)
    sums = np.concatenate([counts @ table for counts in _draws(prompts, resamples, seed)])
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [(1 - level) / 2, (1 + level) / 2])
    value = float(numerators.sum() / denominators.sum())
    return Estimate(value=value, low=float(low), high=float(high), level=level, n=prompts)
