"""The Bradley-Terry model with ties (Davidson 1970), as numbers: strengths from weighted outcomes.

With log-strengths a and b and tie parameter t, the probabilities of first, second and tie are proportional to
exp((a - b) / 2), exp((b - a) / 2) and t. The fit is the maximum of the posterior under a Gaussian prior on the
log-strengths: the prior is what keeps a candidate that never loses at a finite strength, and it makes the strengths
sum to zero. The problem is strictly convex, so that there is one answer.

This module knows no candidates and no judgments, and does not check that the comparisons are connected: callers do.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from rewards.errors import RunError

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

TIE_MEDIAN = 0.5
"""Median of the prior on the tie parameter: equal responses tie with probability t / (2 + t) = 20%."""
TIE_SPREAD = 1.5
"""Standard deviation of the prior on its logarithm: weak, 95% of it between 0.026 and 9.5."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Comparisons as arrays of length m: the nodes compared and the weights of first, second, tie (m, 3)."""

    first: Indices
    second: Indices
    weights: Floats


@dataclass(frozen=True, slots=True)
class DavidsonFit:
    """Log-strengths (n,), their posterior variances (n,) by Laplace's approximation, and the tie parameter."""

    strengths: Floats
    variances: Floats
    tie: float


def fit_davidson(nodes: int, outcomes: Outcomes, *, prior: float, tie: float | None) -> DavidsonFit:
    """Fit log-strengths of `nodes` nodes, and the tie parameter unless it is given.

    `prior` is the standard deviation of the prior on log-strengths, in nats; the same as an L2 penalty of
    1 / (2 prior^2). `tie` fixes the tie parameter; 0 is the model of Bradley and Terry (1952), without ties.
    """
    from scipy.optimize import minimize

    start = np.zeros(nodes + 1)
    start[nodes] = log(TIE_MEDIAN)
    found = minimize(
        lambda x: objective(x, outcomes, prior=prior, tie=tie),
        start,
        jac=True,
        method="L-BFGS-B",
        options={"gtol": 1e-9, "ftol": 1e-15, "maxiter": 2000, "maxfun": 20000},
    )
    # The line search ends near the square root of the machine's precision. The Hessian is needed for the variances
    # anyway, so a Newton step takes the rest.
    x = found.x - np.linalg.solve(
        hessian(found.x, outcomes, prior=prior, tie=tie), objective(found.x, outcomes, prior=prior, tie=tie)[1]
    )
    gradient = objective(x, outcomes, prior=prior, tie=tie)[1]
    if not np.max(np.abs(gradient)) < 1e-5:
        raise RunError(
            f"expected the Bradley-Terry fit of {nodes} nodes to converge, got a gradient of "
            f"{np.max(np.abs(gradient)):.3g}; use a narrower prior than {prior:g}"
        )
    covariance = np.linalg.inv(hessian(x, outcomes, prior=prior, tie=tie))
    return DavidsonFit(
        strengths=x[:nodes],
        variances=np.diag(covariance)[:nodes],
        tie=float(np.exp(x[nodes])) if tie is None else tie,
    )


def _logits(x: Floats, outcomes: Outcomes, tie: float | None) -> tuple[Floats, Floats]:
    """Logits of the three outcomes (m, 3) and their log-partition (m,)."""
    half = (x[outcomes.first] - x[outcomes.second]) / 2
    eta = x[-1] if tie is None else log(tie) if tie > 0 else -np.inf
    logits = np.stack([half, -half, np.full_like(half, eta)], axis=1)
    return logits, np.logaddexp.reduce(logits, axis=1)


def objective(x: Floats, outcomes: Outcomes, *, prior: float, tie: float | None) -> tuple[float, Floats]:
    """Negative log-posterior, up to a constant, and its gradient; x is (log-strengths, log tie parameter)."""
    logits, partition = _logits(x, outcomes, tie)
    totals = outcomes.weights.sum(axis=1)
    # An impossible outcome without weight counts nothing (0 times minus infinity).
    taken = outcomes.weights * np.where(outcomes.weights > 0, logits, 0.0)
    strengths, eta = x[:-1], x[-1] - log(TIE_MEDIAN)
    # With a fixed tie parameter the last coordinate keeps only its prior, which holds it where it starts.
    value = float((totals * partition).sum() - taken.sum())
    value += float((strengths**2).sum()) / (2 * prior**2) + float(eta**2) / (2 * TIE_SPREAD**2)
    residual = totals[:, None] * np.exp(logits - partition[:, None]) - outcomes.weights
    slope = (residual[:, 0] - residual[:, 1]) / 2
    gradient = np.concatenate([strengths / prior**2, [eta / TIE_SPREAD**2]])
    np.add.at(gradient, outcomes.first, slope)
    np.add.at(gradient, outcomes.second, -slope)
    if tie is None:
        gradient[-1] += residual[:, 2].sum()
    return value, gradient


def hessian(x: Floats, outcomes: Outcomes, *, prior: float, tie: float | None) -> Floats:
    """Second derivatives (n + 1, n + 1): the outcomes' covariances and the prior's precision."""
    logits, partition = _logits(x, outcomes, tie)
    p = np.exp(logits - partition[:, None])
    totals = outcomes.weights.sum(axis=1)
    mean = (p[:, 0] - p[:, 1]) / 2
    spread = totals * ((p[:, 0] + p[:, 1]) / 4 - mean**2)
    matrix = np.diag(np.concatenate([np.full(len(x) - 1, prior**-2), [TIE_SPREAD**-2]]))
    for row, column, sign in (
        (outcomes.first, outcomes.first, 1),
        (outcomes.second, outcomes.second, 1),
        (outcomes.first, outcomes.second, -1),
        (outcomes.second, outcomes.first, -1),
    ):
        np.add.at(matrix, (row, column), sign * spread)
    if tie is None:
        matrix[-1, -1] += (totals * p[:, 2] * (1 - p[:, 2])).sum()
        cross = np.zeros(len(x))
        np.add.at(cross, outcomes.first, -totals * mean * p[:, 2])
        np.add.at(cross, outcomes.second, totals * mean * p[:, 2])
        matrix[-1] += cross
        matrix[:, -1] += cross
    return matrix
