"""PPO on a judge's rewards: prompts in, an adapter (or a model) and its critic out.

The job is `rl.on_policy`, the learning is in `rl.ppo_trainer`; this module puts the critic to the trainer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from rewards.errors import InputError
from rewards.training.sharding import shards
from rewards.types import Prompt
from rl.on_policy import OnPolicyJob, Start, train_on_policy
from rl.training import TrainingResult
from rl.training_settings import PPOSettings


def train_ppo(
    prompts: Sequence[Prompt] | Path, *, settings: PPOSettings, **job: Unpack[OnPolicyJob]
) -> TrainingResult:
    """Train a policy with PPO and save it in `output`, its critic in `output`/critic; see `rl.on_policy`.

    Raises what `train_on_policy` does, and InputError for a DeepSpeed configuration with an optimizer of its own.
    """

    def make(start: Start) -> Any:
        from rl.critic import build_critic
        from rl.ppo_trainer import PPOTrainer

        critic = build_critic(
            start.policy.model,
            job["model"],
            settings.critic,
            dtype=job.get("dtype", "auto"),
            attention=job.get("attention", "auto"),
            own_master=shards(start.launch),
        )
        return PPOTrainer(critic=critic, settings=settings, beginning=start.beginning, **start.trainer_arguments())

    return train_on_policy(prompts, kind="ppo", settings=settings, make=make, check=_has_no_optimizer, **job)


def _has_no_optimizer(sharding: Mapping[str, Any]) -> None:
    if "optimizer" in sharding.get("deepspeed", {}):
        raise InputError(
            "expected a DeepSpeed configuration without `optimizer` (launch.config), since policy and critic have "
            "learning rates of their own; leave it out"
        )
