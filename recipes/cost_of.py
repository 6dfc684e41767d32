"""`--dry-run` of a recipe and of an evaluation: from what was typed to the estimates of all judges that it asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from recipes.dry_run import asked_in_words, estimate_cost
from recipes.dry_run_options import Options
from recipes.judge_recipes import CollectRecipe, TrainJudgeRecipe
from recipes.loading import differing_keys
from recipes.planning import GuardedRecipe, Item, JudgingRecipe, Work, plan_gold, plan_recipe
from recipes.schema import OnPolicyRecipe, Recipe, SampleRecipe, SelectRecipe, TrainingRecipe
from recipes.show_cost import show_costs
from rewards.errors import InputError
from rewards.judges.config import JudgeSettings
from rewards.judging_cost import CostEstimate, plan_items
from rewards.protocol.spec import JudgeProtocol
from rl.run_folder import RunFolder


def dry_run_recipe(recipe: Recipe, options: Options) -> int:
    """Print what a recipe would ask and what that costs; raises InputError for one that asks no model."""
    match recipe:
        case CollectRecipe():
            from recipes.collecting_cost import print_estimate

            return print_estimate(recipe, options)
        case TrainJudgeRecipe():
            from recipes.planning_judge import training_costs

            return show_costs(training_costs(recipe, options), options)
        case SampleRecipe():
            from recipes.sampling_cost import sampling_cost

            return show_costs([sampling_cost(recipe, options)], options)
        case SelectRecipe():
            raise InputError("expected a recipe that asks a model for --dry-run, got select, which asks none")
    return show_costs([_judge_cost(recipe, options), *_gold_cost(recipe, options)], options)


def _judge_cost(recipe: JudgingRecipe, options: Options) -> CostEstimate:
    run = RunFolder(recipe.output)
    found = estimate_cost(
        recipe.judge,
        lambda protocol: plan_recipe(recipe, protocol, recipe.judge.mode),
        options,
        cache=recipe.judge.cache or run.cache,
        card=run.judge if _same_judge(run, recipe.judge) else None,
        certificate=recipe.judge_certificate if isinstance(recipe, TrainingRecipe | OnPolicyRecipe) else None,
    )
    return found.model_copy(update={"notes": (*found.notes, *_training_notes(recipe))})


def _training_notes(recipe: JudgingRecipe) -> list[str]:
    """What makes the judge's work in a training differ from one judge's in a row."""
    notes = []
    if isinstance(recipe, GuardedRecipe) and recipe.guard is not None and not asked_in_words(recipe.guard.gold):
        notes.append(f"the guard's gold judge ({recipe.guard.gold.rival.kind}) is not asked questions: not estimated")
    if isinstance(recipe, OnPolicyRecipe) and recipe.launch.processes > 1 and recipe.judge.backend == "transformers":
        notes.append(
            f"each of {recipe.launch.processes} processes has a judge of its own for its share of the responses: they "
            "take a part of this time each, at the same time"
        )
    return notes


def _gold_cost(recipe: JudgingRecipe, options: Options) -> list[CostEstimate]:
    """The guard's second judge, where there is one that is asked in words."""
    if not isinstance(recipe, GuardedRecipe) or recipe.guard is None or not asked_in_words(recipe.guard.gold):
        return []
    gold = recipe.guard.gold
    found = estimate_cost(gold, lambda protocol: plan_gold(recipe, protocol, gold.mode), options)
    return [found.model_copy(update={"judge": f"the gold judge {found.judge}"})]


def _same_judge(run: RunFolder, judge: JudgeSettings) -> bool:
    """Whether a run folder's judge is the one that these settings name."""
    if not run.recipe.is_file():
        return False
    before = json.loads(run.recipe.read_text(encoding="utf-8"))["recipe"].get("judge", {})
    return not differing_keys({"judge": before}, {"judge": judge.model_dump(mode="json")})


def estimate_items(
    judge: JudgeSettings, sets: Sequence[tuple[str, Sequence[Item]]], options: Options, *, folder: Path | None = None
) -> CostEstimate:
    """What a judge would be asked about named sets of items, each of one kind; pairs are asked in both orders.

    folder: where an evaluation keeps its answers, whose cache and judge are looked up.
    """
    items = tuple(item for _, some in sets for item in some)

    def plan_of(protocol: JudgeProtocol) -> Work:
        return Work(tuple(plan_items(name, some, protocol, judge.mode) for name, some in sets), items)

    cache = judge.cache or (None if folder is None else folder / "judgments.sqlite")
    return estimate_cost(judge, plan_of, options, cache=cache)
