"""What the GRPO and RLOO tests share: settings, the two jobs, and trainers that do not run by themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rl.grpo import train_grpo
from rl.on_policy import Start, fitting_prompts, laid_out
from rl.on_policy_arguments import Kind, on_policy_arguments
from rl.reward_boundary import held_back
from rl.rloo import train_rloo
from rl.training_settings import GRPOSettings, LoraSettings, RLOOSettings
from tests.rl.ppo_toys import prompts_of, vowels

JOBS: dict[str, Callable[..., Any]] = {"grpo": train_grpo, "rloo": train_rloo}


def group_settings(kind: str, **values: Any) -> GRPOSettings | RLOOSettings:
    tiny: dict[str, Any] = {
        "tuning": "full",
        "learning_rate": 1e-3,
        "warmup": 0.0,
        "max_steps": 3,
        "batch_size": 8,
        "gradient_accumulation": 1,
        "responses_per_prompt": 4,
        "max_length": 64,
        "max_new_tokens": 8,
        "lora": LoraSettings(rank=4, alpha=8),
    }
    made = GRPOSettings if kind == "grpo" else RLOOSettings
    return made(**(tiny | values))


def group_trainer(
    kind: Kind, model: Path, output: Path, settings: GRPOSettings | RLOOSettings, rewards: Any = vowels
) -> Any:
    """A trainer as the job makes it, to look into."""
    from rewards.training.launch_settings import LaunchSettings
    from rl.group_trainer import GroupRelativeTrainer, LeaveOneOutTrainer
    from rl.training import load_policy

    policy = load_policy(str(model), None, settings, dtype="float32", attention="auto")
    arguments = on_policy_arguments(
        kind, settings, output, steps=3, weights=None, dtype="float32", trl={}, sharding={}
    )
    dataset = laid_out(fitting_prompts(prompts_of(8), policy.tokenizer, 56), 8, settings)
    start = Start(policy, arguments, dataset, [held_back(rewards)], LaunchSettings())
    made = GroupRelativeTrainer if kind == "grpo" else LeaveOneOutTrainer
    trainer = made(**start.trainer_arguments())
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = settings.gradient_accumulation
    return trainer


def sampled(trainer: Any, prompts: int = 2) -> dict[str, Any]:
    """A batch of responses in groups, sampled and scored."""
    rows = [trainer.train_dataset[i] for i in range(prompts) for _ in range(trainer.num_generations)]
    batch: dict[str, Any] = trainer._generate_and_score_completions(rows)
    return batch
