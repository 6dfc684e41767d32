"""Two learning rates in one optimizer: the critic's own, and the policy's, which is 0 while the critic warms up.

Design decision. A rate of 0 and not a loss of 0: Adam's moments of the policy then settle during the warm-up. With a
loss of 0 they would stay 0 while Adam's own correction for their start runs out, and the first real steps would be
about three times too long. Rates live in parameter groups, which DeepSpeed reads as torch's optimizers do.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

import torch

from rewards.errors import InputError

CRITIC = "critic"
"""The key that tells a group of the critic's."""


def separate_rates(optimizer: torch.optim.Optimizer, critic: Set[int], rate: float) -> None:
    """Split the groups of a new optimizer into the policy's and the critic's, which get `rate`.

    critic: the ids of its weights. Weight decay and all else stay as they are.
    """
    groups = []
    for group in optimizer.param_groups:
        for theirs in (False, True):
            weights = [weight for weight in group["params"] if (id(weight) in critic) is theirs]
            if weights:
                groups.append({**group, "params": weights, CRITIC: theirs} | ({"lr": rate} if theirs else {}))
    optimizer.param_groups = groups


def hold_policy_back(scheduler: Any, steps: int) -> None:
    """Keep the policy's learning rate at 0 for the first `steps` optimizer steps; then it follows its schedule.

    Raises InputError for a schedule that is no function of the step.
    """
    if not steps:
        return
    if not isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):
        raise InputError(
            f"expected a schedule that is a function of the step with critic.warmup_steps, got "
            f"{type(scheduler).__name__}; use another trl.lr_scheduler_type, or critic.warmup_steps 0"
        )
    groups = scheduler.optimizer.param_groups
    for number, group in enumerate(groups):
        if not group[CRITIC]:
            scheduler.lr_lambdas[number] = _held(scheduler.lr_lambdas[number], steps)
            group["lr"] = 0.0


def _held(schedule: Callable[[int], float], steps: int) -> Callable[[int], float]:
    return lambda step: 0.0 if step < steps else schedule(step)
