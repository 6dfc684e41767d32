"""From the judge's reward to the reward that PPO learns from: scaled by its running spread, clipped, less a penalty.

Design decision. A reward that is None (NaN here) is not counted and stays NaN, so scaling cannot bring a sample back
that has no reward. A constant is subtracted from every reward alike, which with one reward a response and gamma = 1
changes no preference between responses; what it does change is how far the critic starts from its returns.
"""

from __future__ import annotations

import math

import torch

MINIMUM_STD = 1e-6


class RunningScale:
    """Mean and spread of all rewards so far, one batch after the other (Chan, Golub and LeVeque 1983, equation 1.5).

    Rewards less their mean over their spread, then clipped: Zheng et al. 2023 (arXiv 2307.04964, section 5.3.1). PPO's
    first code divided by the running spread of discounted returns and took off no mean (Engstrom et al. 2020, arXiv
    2005.12729, section 3). Held in double precision.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0
        """Sum of squared distances from the mean."""

    @property
    def std(self) -> float:
        """Of the population; 1 before two rewards were seen or while all were equal."""
        found = math.sqrt(self.squares / self.count) if self.count else 0.0
        return found if found > MINIMUM_STD else 1.0

    def update(self, rewards: torch.Tensor) -> None:
        """Count a batch, (N,); NaN is left out."""
        seen = rewards[~rewards.isnan()].double()
        if seen.numel() == 0:
            return
        count, mean = seen.numel(), float(seen.mean())
        squares = float((seen - mean).square().sum())
        total, distance = self.count + count, mean - self.mean
        self.squares += squares + distance * distance * self.count * count / total
        self.mean += distance * count / total
        self.count = total

    def scale(self, rewards: torch.Tensor) -> torch.Tensor:
        """(reward - mean) / std; NaN stays."""
        return (rewards - self.mean) / self.std


def shape_rewards(
    rewards: torch.Tensor,
    ended: torch.Tensor,
    *,
    scale: RunningScale | None,
    clip: float | None,
    missing_eos_penalty: float,
) -> torch.Tensor:
    """The reward of each response, (N,): scaled (where there is a scale), clipped to [-clip, clip], less the penalty.

    ended: (N,), whether the response has an end-of-sequence token. One that was cut off loses `missing_eos_penalty`
    after scaling and clipping, so that it always costs the same. The EOS trick of Huang et al. 2024 (arXiv 2403.17031,
    detail 23) puts -1 in the place of the reward; a fixed amount less, as in TRL, keeps what the judge said.
    """
    shaped = rewards if scale is None else scale.scale(rewards)
    if clip is not None:
        shaped = shaped.clamp(-clip, clip)
    return torch.where(ended.bool(), shaped, shaped - missing_eos_penalty)
