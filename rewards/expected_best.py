"""What the best of k is worth, exactly: the unbiased estimator behind every Best-of-N number.

From the n candidates at hand, for every k up to n: the mean over all subsets of k of what the subset's best is worth.
No subset is drawn, so there is no noise. Both the reward a run selects by (`rl.best_of_n`) and the measure of a judge
(Eval-R) stand on it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@lru_cache(maxsize=8)
def best_of_k_weights(n: int, largest_k: int) -> Floats:
    """Probability that the i-th smallest of n is the largest of k drawn without replacement.

    Shape (n, largest_k): row i - 1, column k - 1 holds C(i - 1, k - 1) / C(n, k). It is built from the largest
    element down, k / n and then times (i - k) / (i - 1), so that no binomial coefficient is ever formed: every
    factor is in [0, 1], and what underflows is truly nothing.
    """
    sizes = np.arange(1, largest_k + 1, dtype=np.float64)
    ranks = np.arange(n, 1, -1, dtype=np.float64)[:, None]
    factors: Floats = np.vstack([sizes / n, np.maximum(ranks - sizes, 0.0) / (ranks - 1.0)])
    weights: Floats = np.cumprod(factors, axis=0, dtype=np.float64)[::-1]
    weights.flags.writeable = False
    return weights


def expected_best(chosen_by: Floats, worth: Floats, largest_k: int) -> Floats:
    """Expected worth of the best of k candidates, for k = 1 … largest_k; all arrays are one prompt's, shape (n,).

    `chosen_by` decides which is best and `worth` says what that is worth (the same array for a plain curve).
    Candidates that tie in `chosen_by` share the chance of being chosen equally.
    """
    order = np.argsort(chosen_by, kind="stable")
    values, starts, counts = np.unique(chosen_by[order], return_index=True, return_counts=True)
    shared = np.repeat(np.add.reduceat(worth[order], starts) / counts, counts) if len(values) else worth
    best: Floats = shared @ best_of_k_weights(len(order), largest_k)
    return best
