"""What an on-policy recipe adds to the arrows: the judge as a reward function, and a look at the run's health.

The judge is opened by every process that trains, since each has its own responses rated; all share the run's cache.
"""

from __future__ import annotations

from recipes.job import Job, console
from recipes.schema import PPORecipe
from rewards.budget import FailureBudget
from rewards.judges.load import load_judge
from rewards.reward_function import RECENT, JudgeReward
from rewards.training.distributed import process_rank
from rl.format_reward import FormattedReward, with_format
from rl.health import symptoms
from rl.metrics import series
from rl.run_folder import RunFolder


def judge_reward(run: RunFolder, recipe: PPORecipe) -> JudgeReward | FormattedReward:
    """The recipe's judge as a reward, with its length and format parts and its failure budget."""
    settings, reward, failures = recipe.judge, recipe.reward, recipe.failures
    judge = load_judge(settings if settings.cache else settings.model_copy(update={"cache": run.cache}))
    if process_rank() == 0:
        run.judge.write_text(judge.card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    budget = FailureBudget(failures.limit, failures.minimum, window=max(RECENT, failures.minimum))
    return with_format(
        JudgeReward(judge, compare=reward.compare, budget=budget, rescale=reward.rescale, length=reward.length),
        reward.format,
    )


def look_at_health(job: Job, stage: str = "train") -> None:
    """Say what the metrics of a training warn of."""
    found, _ = series(job.run.metrics)
    steps: dict[int, dict[str, float | None]] = {}
    for (named, metric), values in found.items():
        if named == job.named(stage):
            for step, value in values.items():
                steps.setdefault(step, {})[metric] = value
    for symptom in symptoms([steps[step] for step in sorted(steps) if step]):
        console.print(f"  {symptom.text}", style="yellow", highlight=False, soft_wrap=True)
