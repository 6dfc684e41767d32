"""The jobs behind the recipes: each kind is one function that reads top to bottom."""

from __future__ import annotations

from recipes import stages
from recipes.finish import conclude
from recipes.job import Job, open_run
from recipes.schema import (
    BestOfNRecipe,
    DPORecipe,
    FilterRecipe,
    QuickstartRecipe,
    Recipe,
    RejectionSamplingRecipe,
    SamplingRecipe,
)
from rewards.types import Candidate, Comparison, Judgment, Prompt, Reward, Unscored
from rl.run_folder import RunFolder
from rl.tracking import Tracker


def run_recipe(recipe: Recipe, *, resume: bool = False, clean: bool = False) -> RunFolder:
    """Run a recipe to its report; returns the run folder.

    Raises InputError for what the user can fix and RunError when the run fails; what was finished is kept, and
    the same recipe with `resume` goes on from there.
    """
    run = open_run(recipe, resume=resume, clean=clean)
    config = recipe.model_dump(mode="json")
    with Tracker.start(run, mode=recipe.track.mode, project=recipe.track.project, config=config) as tracker:
        job = Job(run, tracker)
        if isinstance(recipe, QuickstartRecipe):
            _quickstart(job, recipe)
        elif isinstance(recipe, BestOfNRecipe):
            _best_of_n(job, recipe)
        elif isinstance(recipe, FilterRecipe):
            _filter(job, recipe)
        elif isinstance(recipe, RejectionSamplingRecipe):
            _rejection_sampling(job, recipe)
        else:
            _dpo(job, recipe)
        conclude(job)
    return run


class Judged:
    """What sampling and judging leave for the stages after them."""

    def __init__(self, job: Job, recipe: SamplingRecipe, *, held_out: int) -> None:
        self.prompts: list[Prompt]
        self.held_out: list[Prompt]
        self.prompts, self.held_out = stages.prepare_prompts(job, recipe.prompts, held_out=held_out, seed=recipe.seed)
        self.candidates: list[Candidate] = stages.sample_candidates(
            job, recipe.policy, recipe.sampling, self.prompts, seed=recipe.seed
        )
        self.judgments, self.comparisons, self.scored = _judge(job, recipe, self.prompts, self.candidates)


def _judge(
    job: Job, recipe: SamplingRecipe | FilterRecipe, prompts: list[Prompt], candidates: list[Candidate]
) -> tuple[list[Judgment], list[Comparison], list[Reward | Unscored]]:
    judgments = stages.rate_candidates(job, recipe.judge, recipe.failures, prompts, candidates)
    comparisons = stages.compare_candidates(
        job, recipe.judge, recipe.failures, recipe.compare, prompts, candidates, judgments, seed=recipe.seed
    )
    scored = stages.make_rewards(job, recipe.reward, candidates, judgments, comparisons)
    return judgments, comparisons, scored


def _quickstart(job: Job, recipe: QuickstartRecipe) -> None:
    judged = Judged(job, recipe, held_out=recipe.evaluate.prompts)
    stages.measure_best_of_n(job, judged.scored, seed=recipe.seed)
    _select(job, recipe, judged)
    _train_on_pairs(job, recipe, judged)


def _best_of_n(job: Job, recipe: BestOfNRecipe) -> None:
    judged = Judged(job, recipe, held_out=0)
    stages.measure_best_of_n(job, judged.scored, seed=recipe.seed)
    _select(job, recipe, judged)


def _rejection_sampling(job: Job, recipe: RejectionSamplingRecipe) -> None:
    judged = Judged(job, recipe, held_out=recipe.evaluate.prompts)
    _select(job, recipe, judged)
    learning.train_on_selected(job, recipe.policy, recipe.train, recipe.trl)
    learning.evaluate_policy(
        job, recipe.policy, recipe.judge, recipe.failures, recipe.evaluate, judged.held_out, seed=recipe.seed
    )
