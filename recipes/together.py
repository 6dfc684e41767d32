"""A job on several processes: which of them does what.

All train. The first one alone reads, samples, judges, selects, evaluates and writes the run folder; the others wait
for it where the training begins and end where it ends, so no second judge is ever loaded and no file has two writers.
What they train on, they read from the run folder: on several machines it must be on a disk that all of them share.

A kind of recipe takes part by having a `launch` section and a case in `train_along`.
"""

from __future__ import annotations

import os

from recipes.judge_recipes import TrainJudgeRecipe
from recipes.schema import OnPolicyRecipe, QuickstartRecipe, Recipe, TrainingRecipe
from rewards.errors import InputError, MissingFileError
from rl.run_folder import RunFolder


def only_trains(recipe: Recipe) -> bool:
    """Whether this process is one of those that only train along.

    Raises InputError when a recipe that trains nothing has several processes, and as `check_launch` does.
    """
    if isinstance(recipe, TrainJudgeRecipe | TrainingRecipe | OnPolicyRecipe):
        from rewards.training.distributed import check_launch, process_rank

        check_launch(recipe.launch)
        return process_rank() > 0
    if (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise InputError(
            f"expected one process for a {recipe.recipe} recipe, which trains nothing, got {processes}; start it with "
            "autoj run, without --nproc"
        )
    return False


def train_along(recipe: Recipe, *, resume: bool) -> RunFolder:
    """The part of every process but the first; nothing where an earlier start has finished the training."""
    run = RunFolder(recipe.output)
    if resume and "train" in run.finished():
        return run
    try:
        _train(recipe, run)
    except FileNotFoundError as error:
        if isinstance(error, InputError):
            raise
        raise MissingFileError(
            f"expected {error.filename}, which the first process has written, found none: the run folder must lie on "
            "a disk that all machines share (--output)"
        ) from error
    return run


def _train(recipe: Recipe, run: RunFolder) -> None:
    if isinstance(recipe, TrainJudgeRecipe):
        from recipes.judge_stages import train_only

        train_only(run, recipe)
        return
    from recipes import learning_stages as learning

    if not isinstance(recipe, learning.PolicyRecipe):
        raise InputError(f"expected a recipe that trains, got a {recipe.recipe} recipe")
    if isinstance(recipe, OnPolicyRecipe):
        from recipes.on_policy import watching

        learning.policy_training(run, recipe)(recipe, run.policy, watching(recipe, None))
        return
    if isinstance(recipe, QuickstartRecipe):
        learning.policy_training(run, recipe)(recipe, run.policy)
        return
    from recipes.rounds import rounds_of

    for part in rounds_of(run, recipe):
        if "train" not in part.run.finished():
            learning.policy_training(part.run, part.recipe)(part.recipe, part.run.policy)
