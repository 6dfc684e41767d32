"""PPO on a judge's rewards: prompts in, an adapter (or a model) and its critic out.

A reward is any callable that TRL's trainers take, sync or async: `rewards.reward_function.JudgeReward`, a rule, or
several with weights. The reference is the policy with its adapter off under LoRA, else a frozen copy of the start
model. All prompts of the run are laid out before it starts (`rl.prompt_order`).

The learning is in `rl.ppo_trainer`; this module chooses no reward and evaluates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rewards.errors import InputError, RunError
from rewards.jsonl import read_records
from rewards.judges.config import Attention, Dtype
from rewards.training.arguments import quiet_deprecations, refusals
from rewards.training.distributed import joined
from rewards.training.launch_settings import LaunchSettings
from rewards.training.sharding import shards
from rewards.types import Prompt
from rl.ppo_arguments import ppo_arguments
from rl.prompt_order import prompt_order
from rl.reward_boundary import RewardFunction, held_back
from rl.training import TrainingResult, check_output, check_prompts, load_policy, run_trainer
from rl.training_settings import PPOSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainerCallback


@quiet_deprecations()
def train_ppo(
    prompts: Sequence[Prompt] | Path,
    *,
    rewards: Sequence[RewardFunction],
    weights: Sequence[float] | None = None,
    model: str,
    output: Path,
    settings: PPOSettings,
    trl: Mapping[str, JsonValue] | None = None,
    adapter: Path | None = None,
    dtype: Dtype = "auto",
    attention: Attention = "auto",
    launch: LaunchSettings | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    resume: bool = False,
) -> TrainingResult:
    """Train `model` with PPO and save the adapter (or the whole model) in `output`, its critic in `output`/critic.

    prompts: records, or the file of them; those longer than max_length - max_new_tokens tokens are left out.
    rewards: functions of prompts and completions, whose results are added with `weights` (1 each without); a response
        for which any of them gives None takes no part in learning.
    trl: further keys of TRL's GRPOConfig (vLLM's are among them).
    launch, adapter, resume: as for `rl.dpo.train_dpo`; on one process a resumed run goes on as if never stopped.
    Raises RunError without prompts or at a NaN, InputError for settings that cannot be used, FailureBudgetError when
    too many judgments failed and KeyboardInterrupt after a Ctrl-C; the last finished step is saved in both cases.
    """
    launch = launch or LaunchSettings()
    _check(rewards, weights, launch)
    with joined(launch) as sharding:
        from transformers import set_seed

        from rl.critic import build_critic
        from rl.ppo_trainer import PPOTrainer

        found = list(read_records(prompts, Prompt)) if isinstance(prompts, Path) else list(prompts)
        if not found:
            raise RunError("expected prompts to train on, got none; look at the source and the limit of `prompts`")
        check_prompts({prompt.id: prompt.messages for prompt in found})
        if "optimizer" in sharding.get("deepspeed", {}):
            raise InputError(
                "expected a DeepSpeed configuration without `optimizer` (launch.config), since policy and critic have "
                "learning rates of their own; leave it out"
            )
        checkpoint = check_output(output, resume=resume, launch=launch)
        set_seed(settings.seed)  # the start of the adapters and of the critic's head
        policy = load_policy(model, adapter, settings, dtype=dtype, attention=attention, launch=launch)
        fitting = fitting_prompts(found, policy.tokenizer, settings.max_length - settings.max_new_tokens)
        rounds, steps = plan(settings, len(fitting), launch.processes)
        arguments = ppo_arguments(
            settings,
            output,
            steps=steps,
            weights=None if weights is None else list(weights),
            dtype=dtype,
            trl=trl or {},
            sharding=sharding,
        )
        critic = build_critic(
            policy.model, model, settings.critic, dtype=dtype, attention=attention, own_master=shards(launch)
        )
        with refusals("these prompts with this policy"):
            trainer = PPOTrainer(
                critic=critic,
                settings=settings,
                reward_funcs=[held_back(reward) for reward in rewards],
                model=policy.model,
                args=arguments,
                train_dataset=_dataset(fitting, rounds * prompts_a_round(settings, launch.processes), settings),
                processing_class=policy.tokenizer,
                peft_config=policy.peft_config,
            )
        return run_trainer(
            trainer,
            kind="ppo",
            model=model,
            output=output,
            settings=settings,
            checkpoint=checkpoint,
            callbacks=callbacks,
            examples=len(fitting),
            left_out=len(found) - len(fitting),
        )


def _check(rewards: Sequence[RewardFunction], weights: Sequence[float] | None, launch: LaunchSettings) -> None:
    if not rewards or (weights is not None and len(weights) != len(rewards)):
        given = "no weights" if weights is None else f"{len(weights)} weights"
        raise InputError(
            f"expected at least one reward, and a weight for each or none, got {len(rewards)} and {given}"
        )
    if launch.strategy == "fsdp2":
        raise InputError(
            "expected launch.strategy ddp, zero2 or zero3 for PPO, got fsdp2, which it was never run with"
        )


def fitting_prompts(
    prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase, room: int
) -> list[tuple[Prompt, int]]:
    """The prompts of at most `room` tokens, with their lengths. Raises InputError when there is none."""
    written = [[message.model_dump() for message in prompt.messages] for prompt in prompts]
    with refusals("these prompts with this chat template"):
        tokens = [
            tokenizer.apply_chat_template(one, add_generation_prompt=True, tokenize=True, return_dict=True)[
                "input_ids"
            ]
            for one in written
        ]
    found = [(prompt, len(ids)) for prompt, ids in zip(prompts, tokens, strict=True) if len(ids) <= room]
    if not found:
        raise InputError(
            f"expected prompts of at most {room} tokens (max_length less max_new_tokens), the shortest has "
            f"{min(map(len, tokens))}; raise max_length"
        )
    return found


def prompts_a_round(settings: PPOSettings, processes: int) -> int:
    """Prompts behind one batch of responses. Raises InputError when a batch is no multiple of responses_per_prompt."""
    responses = settings.batch_size * settings.gradient_accumulation * settings.minibatches * processes
    if responses % settings.responses_per_prompt:
        raise InputError(
            f"expected a batch (batch_size x gradient_accumulation x minibatches x processes) that is a multiple of "
            f"responses_per_prompt, got {responses} and {settings.responses_per_prompt}"
        )
    return responses // settings.responses_per_prompt


def plan(settings: PPOSettings, prompts: int, processes: int) -> tuple[int, int]:
    """How many batches of responses are sampled, and how many optimizer steps are taken on them."""
    steps = settings.minibatches * settings.passes
    if settings.max_steps is not None:
        return math.ceil(settings.max_steps / steps), settings.max_steps
    rounds = max(1, math.ceil(settings.epochs * prompts / prompts_a_round(settings, processes)))
    return rounds, rounds * steps


def _dataset(prompts: Sequence[tuple[Prompt, int]], count: int, settings: PPOSettings) -> Any:
    from datasets import Dataset

    order = prompt_order(
        [prompt.scenario for prompt, _ in prompts],
        [length for _, length in prompts],
        count,
        order=settings.prompt_order,
        seed=settings.seed,
    )
    rows = [
        {"prompt": [message.model_dump() for message in prompt.messages], "prompt_id": prompt.id}
        for prompt, _ in prompts
    ]
    return Dataset.from_list([rows[position] for position in order])
