"""The price on leaving the reference policy: three estimators of the KL divergence, and who sets its coefficient.

Design decision. One number is both used and logged: nats a response, the sum over its tokens of the estimator that
was charged in the reward. The controller steers by that same number. Nothing here computes log-probabilities.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch

from rewards.errors import InputError

Estimator: TypeAlias = Literal["k1", "k2", "k3"]
MOST = 0.2
"""Largest relative error that the adaptive controller answers to."""


def kl_estimate(logps: torch.Tensor, reference: torch.Tensor, estimator: Estimator) -> torch.Tensor:
    """KL(policy || reference) estimated at each token that the policy wrote, in nats; any shape.

    With r = log pi - log pi_ref: k1 = r (unbiased, may be negative), k2 = r^2 / 2 (biased, small variance),
    k3 = exp(-r) - 1 + r (unbiased, never negative). J. Schulman, "Approximating KL Divergence", 2020.
    """
    ratio = logps - reference
    if estimator == "k1":
        return ratio
    if estimator == "k2":
        return ratio * ratio / 2
    return torch.expm1(-ratio) + ratio


class KLController:
    """The coefficient of the KL term: fixed, or steered to a target.

    Adaptive as in Ziegler et al. 2019 (arXiv 1909.08593, section 2.2): after each batch of n responses the
    coefficient is multiplied by 1 + K clip(kl / target - 1, -0.2, 0.2). The paper has K = 0.1; K = n / horizon, as in
    the code that its authors released, makes the pace one of responses and not of batches.
    target: nats a response; None keeps the coefficient. horizon: responses.
    """

    def __init__(self, coefficient: float, *, target: float | None = None, horizon: int = 10_000) -> None:
        if coefficient < 0 or (target is not None and (target <= 0 or coefficient == 0)) or horizon < 1:
            raise InputError(
                f"expected a coefficient >= 0 (above 0 with a target), a target above 0 and a horizon of at least 1, "
                f"got {coefficient}, {target} and {horizon}"
            )
        self.coefficient = coefficient
        self.target = target
        self.horizon = horizon

    def update(self, kl: float, responses: int) -> None:
        """Answer to a batch: its mean KL in nats a response, over this many responses."""
        if self.target is None or not math.isfinite(kl):
            return
        error = min(max(kl / self.target - 1, -MOST), MOST)
        self.coefficient *= max(0.0, 1 + error * responses / self.horizon)
