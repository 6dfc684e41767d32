"""Training a policy while its responses are rewarded: what PPO, GRPO and RLOO share, from prompts to the result.

A reward is any callable that TRL's trainers take, sync or async: `rewards.reward_function.JudgeReward`, a rule, or
several with weights. The reference is the policy with its adapter off under LoRA, else a frozen copy of the start
model. All prompts of the run are laid out before it starts (`rl.prompt_order`).

This module chooses no reward and evaluates nothing. `rl.ppo`, `rl.grpo` and `rl.rloo` make the trainers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Required, Unpack

from rewards.errors import InputError, RunError
from rewards.jsonl import read_records
from rewards.judges.chat_tokens import chat_ids
from rewards.training.arguments import quiet_deprecations, refusals
from rewards.training.distributed import joined
from rewards.training.launch_settings import LaunchSettings
from rewards.training.trainable import Trainable
from rewards.types import Prompt
from rl.on_policy_arguments import Kind, Settings, on_policy_arguments
from rl.prompt_order import prompt_order
from rl.reward_boundary import HeldBack, RewardFunction, held_back
from rl.training import TrainingJob, TrainingResult, check_output, check_prompts, load_policy, run_trainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class OnPolicyJob(TrainingJob, total=False):
    """What an on-policy job is told beside its prompts and its settings.

    On one process a resumed run goes on as if never stopped.
    rewards: functions of prompts and completions, whose results are added with `weights` (1 each without); a response
        for which any of them gives None takes no part in learning.
    """

    rewards: Required[Sequence[RewardFunction]]
    weights: Sequence[float] | None


@dataclass(frozen=True, slots=True)
class Start:
    """What a trainer is made of."""

    policy: Trainable
    arguments: Any
    """TRL's config object."""
    dataset: Any
    rewards: list[HeldBack]
    launch: LaunchSettings
    beginning: tuple[int, ...] = ()
    """Tokens that all prompts begin with."""

    def trainer_arguments(self) -> dict[str, Any]:
        """The arguments that TRL's trainers take alike."""
        return {
            "reward_funcs": self.rewards,
            "model": self.policy.model,
            "args": self.arguments,
            "train_dataset": self.dataset,
            "processing_class": self.policy.tokenizer,
            "peft_config": self.policy.peft_config,
        }


@quiet_deprecations()
def train_on_policy(
    prompts: Sequence[Prompt] | Path,
    *,
    kind: Kind,
    settings: Settings,
    make: Callable[[Start], Any],
    check: Callable[[Mapping[str, Any]], None] = lambda sharding: None,
    **job: Unpack[OnPolicyJob],
) -> TrainingResult:
    """Train a policy with the trainer that `make` gives, and save the adapter (or the whole model) in `output`.

    prompts: records, or the file of them; those longer than max_length - max_new_tokens tokens are left out.
    check: looks at TRL's sharding arguments before anything is loaded. job: an `OnPolicyJob`.
    Raises RunError without prompts or at a NaN, InputError for settings that cannot be used, FailureBudgetError when
    too many judgments failed and KeyboardInterrupt after a Ctrl-C; the last finished step is saved in both cases.
    """
    launch = job.get("launch") or LaunchSettings()
    output, dtype, weights = job["output"], job.get("dtype", "auto"), job.get("weights")
    _check(job["rewards"], weights)
    with joined(launch) as sharding:
        from transformers import set_seed

        found = list(read_records(prompts, Prompt)) if isinstance(prompts, Path) else list(prompts)
        if not found:
            raise RunError("expected prompts to train on, got none; look at the source and the limit of `prompts`")
        check_prompts({prompt.id: prompt.messages for prompt in found})
        check(sharding)
        checkpoint = check_output(output, resume=job.get("resume", False), launch=launch)
        set_seed(settings.seed)  # the start of adapters, and of a critic's head
        policy = load_policy(
            job["model"],
            job.get("adapter"),
            settings,
            dtype=dtype,
            attention=job.get("attention", "auto"),
            launch=launch,
        )
        fitting = fitting_prompts(found, policy.tokenizer, settings.max_length - settings.max_new_tokens)
        rounds, steps = plan(settings, len(fitting), launch.processes)
        arguments = on_policy_arguments(
            kind,
            settings,
            output,
            steps=steps,
            weights=None if weights is None else list(weights),
            dtype=dtype,
            trl=job.get("trl") or {},
            sharding=sharding,
        )
        dataset = laid_out(fitting, rounds * prompts_a_round(settings, launch.processes), settings)
        rewards = [held_back(reward) for reward in job["rewards"]]
        with refusals("these prompts with this policy"):
            beginning = common_beginning([tokens for _, tokens in fitting])
            trainer = make(Start(policy, arguments, dataset, rewards, launch, beginning))
        return run_trainer(
            trainer,
            kind=kind,
            model=job["model"],
            output=output,
            settings=settings,
            checkpoint=checkpoint,
            callbacks=job.get("callbacks", ()),
            examples=len(fitting),
            left_out=len(found) - len(fitting),
        )


def _check(rewards: Sequence[RewardFunction], weights: Sequence[float] | None) -> None:
    if not rewards or (weights is not None and len(weights) != len(rewards)):
        given = "no weights" if weights is None else f"{len(weights)} weights"
        raise InputError(
            f"expected at least one reward, and a weight for each or none, got {len(rewards)} and {given}"
        )


def fitting_prompts(
    prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase, room: int
) -> list[tuple[Prompt, list[int]]]:
    """The prompts of at most `room` tokens, with their tokens. Raises InputError when there is none."""
    tokens = [chat_ids(tokenizer, list(prompt.messages)) for prompt in prompts]
    found = [(prompt, ids) for prompt, ids in zip(prompts, tokens, strict=True) if len(ids) <= room]
    if not found:
        raise InputError(
            f"expected prompts of at most {room} tokens (max_length less max_new_tokens), the shortest has "
            f"{min(map(len, tokens))}; raise max_length"
        )
    return found


def common_beginning(prompts: Sequence[list[int]]) -> tuple[int, ...]:
    """The tokens that all prompts begin with, without the last one of the shortest: a response needs one before it."""
    from rewards.judges.row_cache import shared_length

    return tuple(prompts[0][: shared_length(prompts)])


def prompts_a_round(settings: Settings, processes: int) -> int:
    """Prompts behind one batch of responses. Raises InputError when a batch is no multiple of responses_per_prompt."""
    responses = settings.batch_size * settings.gradient_accumulation * settings.minibatches * processes
    if responses % settings.responses_per_prompt:
        raise InputError(
            f"expected a batch (batch_size x gradient_accumulation x minibatches x processes) that is a multiple of "
            f"responses_per_prompt, got {responses} and {settings.responses_per_prompt}"
        )
    return responses // settings.responses_per_prompt


def plan(settings: Settings, prompts: int, processes: int) -> tuple[int, int]:
    """How many batches of responses are sampled, and how many optimizer steps are taken on them."""
    steps = settings.minibatches * settings.passes
    if settings.max_steps is not None:
        return math.ceil(settings.max_steps / steps), settings.max_steps
    rounds = max(1, math.ceil(settings.epochs * prompts / prompts_a_round(settings, processes)))
    return rounds, rounds * steps


def laid_out(prompts: Sequence[tuple[Prompt, list[int]]], count: int, settings: Settings) -> Any:
    """`count` prompts, of those that come with their tokens, in the order in which they are met, as a Dataset."""
    from datasets import Dataset

    order = prompt_order(
        [prompt.scenario for prompt, _ in prompts],
        [len(tokens) for _, tokens in prompts],
        count,
        order=settings.prompt_order,
        seed=settings.seed,
    )
    rows = [
        {"prompt": [message.model_dump() for message in prompt.messages], "prompt_id": prompt.id}
        for prompt, _ in prompts
    ]
    return Dataset.from_list([rows[position] for position in order])
