"""The two clipped losses of PPO, token by token, and what is measured of them.

Design decision. Every function is element by element and knows no mask: who calls picks the valid tokens first
(`x[mask]`), adds up and divides, so that the weight of a token is decided in one place.
"""

from __future__ import annotations

import torch

from rl.advantages import Sum, alone


def clipped_surrogate(
    logps: torch.Tensor, old_logps: torch.Tensor, advantages: torch.Tensor, *, low: float = 0.2, high: float = 0.2
) -> tuple[torch.Tensor, torch.Tensor]:
    """The policy's loss at each token, and whether the clip holds its gradient back (bool).

    -min(r A, clip(r, 1 - low, 1 + high) A) with r = exp(logps - old_logps): Schulman et al. 2017 (arXiv 1707.06347),
    equation 7. All arguments have one shape; the gradient goes through `logps`.
    """
    ratio = torch.exp(logps - old_logps)
    free, held = ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages
    return -torch.minimum(free, held), held < free


def clipped_value_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, *, clip: float | None = 0.2
) -> torch.Tensor:
    """The critic's loss at each token: half the squared error, or that of the clipped value where it is larger.

    max((V - R)^2, (V_old + clip(V - V_old, -clip, clip) - R)^2) / 2. The clip is not in the paper on PPO but in its
    authors' code (Engstrom et al. 2020, arXiv 2005.12729, section 3, who print a minimum); 0.2 is from Huang et al.
    2024 (arXiv 2403.17031, table 7). clip: in units of the return; None is the plain squared error.
    """
    error = (values - returns).square()
    if clip is None:
        return error / 2
    near = old_values + (values - old_values).clamp(-clip, clip)
    return torch.maximum(error, (near - returns).square()) / 2


def explained_variance(values: torch.Tensor, returns: torch.Tensor, *, total: Sum = alone) -> float:
    """1 - Var(R - V) / Var(R) over the valid tokens of all processes, each (N,).

    1 is a perfect critic, 0 a constant one, below 0 a worse one; NaN where R is flat or there is no token.
    """
    both = torch.stack([returns - values, returns])
    *sums, count = total(torch.cat([both.sum(dim=1), both.new_tensor([float(returns.numel())])]))
    centred = both - torch.stack(sums)[:, None] / count.clamp(min=1.0)
    error, spread = total(centred.square().sum(dim=1)).tolist()
    return 1 - error / spread if spread > 0 else float("nan")
