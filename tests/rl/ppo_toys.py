"""What the PPO tests share: prompts, rules as rewards, small settings, and a trainer that does not run by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rewards.types import Message, Prompt
from rl.training_settings import CriticSettings, KLSettings, LoraSettings, PPOSettings

Weights = dict[str, torch.Tensor]


def prompts_of(count: int) -> list[Prompt]:
    return [
        Prompt(id=f"p{i}", messages=(Message(role="user", content=f"Q {i}?"),), scenario=f"s{i % 2}")
        for i in range(count)
    ]


def text_of(completion: Any) -> str:
    return str(completion[0]["content"])


def vowels(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    """The share of vowels among the characters of each completion."""
    texts = [text_of(one).lower() for one in completions]
    return [sum(c in "aeiou" for c in text) / max(1, len(text)) for text in texts]


def settings_of(**values: Any) -> PPOSettings:
    tiny: dict[str, Any] = {
        "tuning": "full",
        "learning_rate": 1e-3,
        "warmup": 0.0,
        "max_steps": 3,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "max_length": 64,
        "max_new_tokens": 8,
        "lora": LoraSettings(rank=4, alpha=8),
        "kl": KLSettings(coefficient=0.02),
        "critic": CriticSettings(tuning="full", learning_rate=1e-3, warmup_steps=0),
    }
    return PPOSettings(**(tiny | values))


def weights_in(folder: Path, pattern: str = "*.safetensors") -> Weights:
    from safetensors.torch import load_file

    (file,) = folder.glob(pattern)
    return dict(load_file(file))


def critic_in(folder: Path) -> Weights:
    return weights_in(folder / "critic")


def trainer_of(
    model: Path, output: Path, settings: PPOSettings, rewards: Any = vowels, prompts: int = 8, shared: bool = True
) -> Any:
    """A trainer as `train_ppo` makes it, to look into."""
    from rl.critic import build_critic
    from rl.on_policy import common_beginning, fitting_prompts, laid_out
    from rl.on_policy_arguments import on_policy_arguments
    from rl.ppo_trainer import PPOTrainer
    from rl.reward_boundary import held_back
    from rl.training import load_policy

    policy = load_policy(str(model), None, settings, dtype="float32", attention="auto")
    arguments = on_policy_arguments(
        "ppo", settings, output, steps=3, weights=None, dtype="float32", trl={}, sharding={}
    )
    fitting = fitting_prompts(prompts_of(prompts), policy.tokenizer, 56)
    return PPOTrainer(
        critic=build_critic(
            policy.model, str(model), settings.critic, dtype="float32", attention="auto", own_master=False
        ),
        settings=settings,
        beginning=common_beginning([tokens for _, tokens in fitting]) if shared else (),
        reward_funcs=[held_back(rewards)],
        model=policy.model,
        args=arguments,
        train_dataset=laid_out(fitting, prompts, settings),
        processing_class=policy.tokenizer,
        peft_config=policy.peft_config,
    )


def batch_of(trainer: Any, count: int = 8, *, one_forward: bool = False) -> dict[str, Any]:
    """A batch of responses, sampled and scored; with its advantages, unless the loss is to find them."""
    trainer.model.train()
    trainer.one_forward = one_forward
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    batch: dict[str, Any] = trainer._generate_and_score_completions([trainer.train_dataset[i] for i in range(count)])
    return batch
