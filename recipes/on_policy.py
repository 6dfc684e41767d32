"""What an on-policy recipe adds to the arrows: the judge as a reward function, and the guard.

The judge is opened by every process that trains, since each has its own responses rated; all share the run's cache.
The guard looks at the policy as it trains; the one that it finds best is taken from its checkpoint at the end.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes import learning_stages as learning
from recipes.guarding import Guard
from recipes.job import Job
from recipes.schema import GRPORecipe, OnPolicyRecipe, PPORecipe, RLOORecipe
from recipes.watched_policies import StoredPolicy, TrainedPolicy
from rewards.budget import FailureBudget
from rewards.calibration import CalibrationMap
from rewards.documents import write_json
from rewards.judges.generative import GenerativeJudge
from rewards.judges.load import load_judge
from rewards.reward_function import RECENT, AsyncJudgeReward, JudgeReward
from rewards.training.arguments import CHECKPOINTS
from rewards.training.distributed import process_rank
from rewards.types import Prompt
from rl.format_reward import FormattedReward, with_format
from rl.run_folder import RunFolder

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from rl.guard_callback import Opinion

Recipe = PPORecipe | GRPORecipe | RLOORecipe


def learner(run: RunFolder, recipe: Recipe) -> partial[Any]:
    """The recipe's training function, with its reward and its settings."""
    rewards = [judge_reward(run, recipe)]
    match recipe:
        case PPORecipe():
            from rl.ppo import train_ppo

            return partial(train_ppo, rewards=rewards, settings=recipe.train)
        case GRPORecipe():
            from rl.grpo import train_grpo

            return partial(train_grpo, rewards=rewards, settings=recipe.train)
        case RLOORecipe():
            from rl.rloo import train_rloo

            return partial(train_rloo, rewards=rewards, settings=recipe.train)


def judge_reward(run: RunFolder, recipe: Recipe) -> JudgeReward | FormattedReward:
    """The recipe's judge as a reward, with its length and format parts and its failure budget."""
    settings, reward, failures = recipe.judge, recipe.reward, recipe.failures
    judge = load_judge(settings if settings.cache else settings.model_copy(update={"cache": run.cache}))
    if process_rank() == 0:
        write_json(run.judge, judge.card)
    budget = FailureBudget(failures.limit, failures.minimum, window=max(RECENT, failures.minimum))
    more: dict[str, Any] = {
        "compare": reward.compare,
        "budget": budget,
        "calibration": None if reward.calibration is None else CalibrationMap.load(reward.calibration),
        "rescale": reward.rescale,
        "length": reward.length,
    }
    if settings.backend == "endpoint" and settings.engine == "local":
        samples = judge.decoding.samples if isinstance(judge, GenerativeJudge) else 1  # all of a response at once
        most = max(1, settings.endpoint.concurrency // samples)
        return with_format(AsyncJudgeReward(judge, early=most, **more), reward.format)
    return with_format(JudgeReward(judge, **more), reward.format)


def train_guarded(job: Job, recipe: Recipe, held_out: Sequence[Prompt]) -> None:
    """The training as a stage of the run; with a guard, its looks on the way and the policy that it finds best."""
    guard = Guard(job, recipe, held_out)
    learning.train(job, recipe, watching(recipe, guard))
    if recipe.guard is not None and not job.done("keep"):
        _keep_best(job, recipe, guard)


def watching(recipe: OnPolicyRecipe, guard: Guard | None) -> list[TrainerCallback]:
    """The guard as a callback of the trainer; without `guard`, for a process that only hears what it says."""
    if recipe.guard is None:
        return []
    from rl.guard_callback import GuardCallback

    return [GuardCallback(recipe.guard.every, None if guard is None else partial(_look, guard, recipe))]


def _look(guard: Guard, recipe: OnPolicyRecipe, step: int, model: Any, tokenizer: Any) -> Opinion:
    from rl.guard_callback import Opinion

    guard.look(step, TrainedPolicy(model, tokenizer, recipe.policy))
    return Opinion(best=guard.best(step), stop=guard.stops)


def _keep_best(job: Job, recipe: Recipe, guard: Guard) -> None:
    """A last look, and the policy of the best one in place of the last."""
    guard.recall()
    last = int(job.run.finished()["train"].counts["steps"])
    trained = learning.trained_policy(job.run.policy, recipe.train.tuning)
    guard.look(last, StoredPolicy(recipe.policy.model_copy(update=trained), recipe.policy))
    with job.stage("keep", "Keeping the policy with the highest gold") as counts:
        step = guard.kept(last)
        if step != last:
            _take_from(job.run.policy / CHECKPOINTS / f"checkpoint-{step}", job.run.policy)
        counts["kept_step"] = step


def _take_from(checkpoint: Path, policy: Path) -> None:
    """Put a checkpoint's weights (and critic) in the place of the last ones."""
    for path in sorted(
        path for path in policy.rglob("*.safetensors") if CHECKPOINTS not in path.relative_to(policy).parts
    ):
        taken = checkpoint / path.relative_to(policy)
        part = path.with_suffix(".part")
        shutil.copyfile(taken, part)
        part.replace(path)
