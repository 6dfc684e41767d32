"""RLOO on a judge's rewards: prompts in, an adapter (or a model) out.

The job is `rl.on_policy`; what differs from TRL's trainer is in `rl.group_trainer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from rewards.types import Prompt
from rl.on_policy import OnPolicyJob, Start, train_on_policy
from rl.training import TrainingResult
from rl.training_settings import RLOOSettings


def train_rloo(
    prompts: Sequence[Prompt] | Path, *, settings: RLOOSettings, **job: Unpack[OnPolicyJob]
) -> TrainingResult:
    """Train a policy with RLOO and save it in `output`; see `rl.on_policy.train_on_policy`."""

    def make(start: Start) -> Any:
        from rl.group_trainer import LeaveOneOutTrainer

        return LeaveOneOutTrainer(**start.trainer_arguments())

    return train_on_policy(prompts, kind="rloo", settings=settings, make=make, **job)
