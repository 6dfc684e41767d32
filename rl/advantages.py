"""Generalised advantage estimation and whitening, over the valid tokens of ragged responses.

Design decision. Whitening works on the valid tokens as one flat vector, picked out by the mask. Sums are then taken
over the same numbers in the same order however far a batch is padded and whatever rows it holds beside, so that a
sample without a reward leaves no trace in the others, bit for bit. No mask in the middle of a response (tools) is
supported. Nothing here knows of rewards, models or processes; sums over processes come in as a function.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from rewards.errors import InputError

Sum = Callable[[torch.Tensor], torch.Tensor]
"""Adds a vector up over all processes; each of them must call it."""


def alone(totals: torch.Tensor) -> torch.Tensor:
    """The sum over one process."""
    return totals


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages and returns (advantage + value), each (B, T) and 0 where the mask is.

    rewards, values: (B, T); values[b, t] is the critic's estimate before token t was written.
    mask: (B, T), true on the tokens of a response, which start at column 0 and have no gaps.
    Schulman et al. 2015 (arXiv 1506.02438), equation 16, by its recursion; the state after the last token is worth 0.
    Raises InputError for shapes that differ.
    """
    if not rewards.shape == values.shape == mask.shape:
        raise InputError(
            f"expected rewards, values and mask of one shape, got {tuple(rewards.shape)}, {tuple(values.shape)} and "
            f"{tuple(mask.shape)}"
        )
    valid = mask.bool()
    rewards, values = rewards.where(valid, 0.0), values.where(valid, 0.0)
    advantages = torch.zeros_like(values)
    later = next_value = values.new_zeros(values.shape[0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        later = (delta + gamma * lam * later).where(valid[:, t], 0.0)
        advantages[:, t], next_value = later, values[:, t]
    return advantages, (advantages + values).where(valid, 0.0)


def whiten(values: torch.Tensor, mask: torch.Tensor, *, total: Sum = alone, epsilon: float = 1e-8) -> torch.Tensor:
    """`values` with mean 0 and variance 1 over the valid tokens of all processes; 0 where the mask is.

    Whitened as by Huang et al. 2024 (arXiv 2403.17031, details 24 and 25): the variance is that of the population, and
    `epsilon` is added to it. Only tokens of responses count here, never padding.
    """
    valid = mask.bool()
    found = values[valid]
    count, summed = total(torch.stack([found.new_tensor(float(found.numel())), found.sum()]))
    centred = found - summed / count.clamp(min=1.0)
    (squares,) = total((centred * centred).sum()[None])
    result = torch.zeros_like(values)
    result[valid] = centred * torch.rsqrt(squares / count.clamp(min=1.0) + epsilon)
    return result
