"""The jobs behind the recipes: each kind is one function that reads top to bottom."""

from __future__ import annotations

from collections.abc import Sequence

from recipes import learning_stages as learning
from recipes import selecting, stages, together
from recipes.certified import check_judge
from recipes.finish import conclude
from recipes.job import Job, opened_run
from recipes.judge_recipes import CollectRecipe, TrainJudgeRecipe
from recipes.rounds import in_rounds
from recipes.schema import (
    BestOfNRecipe,
    DPORecipe,
    FilterRecipe,
    GRPORecipe,
    JudgeRecipe,
    KTORecipe,
    PPORecipe,
    QuickstartRecipe,
    Recipe,
    RejectionSamplingRecipe,
    RLOORecipe,
    RoundedRecipe,
    SampleRecipe,
    SamplingRecipe,
    SelectRecipe,
)
from rewards.types import Candidate, Prompt
from rl.run_folder import RunFolder
from rl.tracking import Tracker


def run_recipe(recipe: Recipe, *, resume: bool = False, clean: bool = False) -> RunFolder:
    """Run a recipe to its report; returns the run folder.

    Raises InputError for what the user can fix and RunError when the run fails; what was finished is kept, and
    the same recipe with `resume` goes on from there.
    """
    if together.only_trains(recipe):
        return together.train_along(recipe, resume=resume)
    config = recipe.model_dump(mode="json")
    with (
        opened_run(recipe, resume=resume, clean=clean) as run,
        Tracker.start(run, mode=recipe.track.mode, project=recipe.track.project, config=config) as tracker,
    ):
        job = Job(run, tracker)
        check_judge(job, recipe)
        _work(job, recipe)
        if not isinstance(recipe, CollectRecipe):  # nothing of a policy to report; it says itself what came out
            conclude(job)
    return run


def _work(job: Job, recipe: Recipe) -> None:
    match recipe:
        case QuickstartRecipe():
            _quickstart(job, recipe)
        case SampleRecipe():
            _sample(job, recipe)
        case FilterRecipe():
            _filter(job, recipe)
        case JudgeRecipe():
            _judge(job, recipe)
        case SelectRecipe():
            _select(job, recipe)
        case BestOfNRecipe():
            _best_of_n(job, recipe)
        case DPORecipe() | KTORecipe() | RejectionSamplingRecipe():
            _learn_in_rounds(job, recipe)
        case PPORecipe() | GRPORecipe() | RLOORecipe():
            _learn_on_policy(job, recipe)
        case CollectRecipe():
            from recipes.collecting import collect_examples

            collect_examples(job, recipe)
        case TrainJudgeRecipe():
            _train_judge(job, recipe)


class Judged:
    """What judging leaves for the stages after it."""

    def __init__(
        self, job: Job, recipe: SamplingRecipe | JudgeRecipe, prompts: list[Prompt], candidates: list[Candidate]
    ) -> None:
        self.prompts, self.candidates = prompts, candidates
        opened = stages.OpenedJudge(job, recipe.judge)
        self.judgments = stages.rate_candidates(job, opened, recipe.failures, prompts, candidates)
        self.comparisons = stages.compare_candidates(
            job, opened, recipe.failures, recipe.compare, prompts, candidates, self.judgments, seed=recipe.seed
        )
        self.scored = stages.make_rewards(job, recipe.reward, prompts, candidates, self.judgments, self.comparisons)
        selecting.put_aside(job.run.path, job.run.review)


def _sample_and_judge(job: Job, recipe: SamplingRecipe, *, held_out: int) -> tuple[Judged, list[Prompt]]:
    prompts, rest = stages.prepare_prompts(job, recipe.prompts, held_out=held_out, seed=recipe.seed)
    return _judged(job, recipe, prompts), rest


def _judged(job: Job, recipe: SamplingRecipe, prompts: Sequence[Prompt]) -> Judged:
    candidates = stages.sample_candidates(job, recipe.policy, recipe.sampling, prompts, seed=recipe.seed)
    return Judged(job, recipe, list(prompts), candidates)


def _quickstart(job: Job, recipe: QuickstartRecipe) -> None:
    judged, held_out = _sample_and_judge(job, recipe, held_out=recipe.evaluate.prompts)
    stages.measure_best_of_n(job, judged.scored, seed=recipe.seed)
    table = selecting.table_of(judged.prompts, judged.candidates, judged.scored)
    selecting.select_candidates(job, table, recipe.select)
    selecting.make_preference_pairs(job, table, recipe.pairs, judged.comparisons, selecting.truncation(recipe))
    learning.train(job, recipe)
    _evaluate(job, recipe, held_out)


def _sample(job: Job, recipe: SampleRecipe) -> None:
    prompts, _ = stages.prepare_prompts(job, recipe.prompts, held_out=0, seed=recipe.seed)
    stages.sample_candidates(job, recipe.policy, recipe.sampling, prompts, seed=recipe.seed)


def _judge(job: Job, recipe: JudgeRecipe) -> Judged:
    return Judged(job, recipe, *stages.read_candidates(job, recipe))


def _select(job: Job, recipe: SelectRecipe) -> None:
    table, comparisons = selecting.open_scored(recipe.scored)
    selecting.select_candidates(job, table, recipe.select)
    selecting.make_preference_pairs(job, table, recipe.pairs, comparisons, None)
    if recipe.review is not None:
        selecting.put_aside(recipe.scored, recipe.review)


def _best_of_n(job: Job, recipe: BestOfNRecipe) -> None:
    judged, _ = _sample_and_judge(job, recipe, held_out=0)
    stages.measure_best_of_n(job, judged.scored, seed=recipe.seed)
    table = selecting.table_of(judged.prompts, judged.candidates, judged.scored)
    selecting.select_candidates(job, table, recipe.select)


def _filter(job: Job, recipe: FilterRecipe) -> None:
    judged = _judge(job, recipe)
    table = selecting.table_of(judged.prompts, judged.candidates, judged.scored)
    selecting.select_candidates(job, table, recipe.select)
    selecting.make_preference_pairs(job, table, recipe.pairs, judged.comparisons, None)


def _learn_in_rounds(job: Job, recipe: RoundedRecipe) -> None:
    held_out = recipe.evaluate.prompts
    prompts, rest = stages.prepare_prompts(job, recipe.prompts, held_out=held_out, seed=recipe.seed)
    in_rounds(job, recipe, prompts, rest, _learn)
    _evaluate(job, recipe, rest)


def _learn(job: Job, recipe: RoundedRecipe, prompts: Sequence[Prompt]) -> None:
    """One round of DPO, KTO or rejection sampling."""
    judged = _judged(job, recipe, prompts)
    table = selecting.table_of(judged.prompts, judged.candidates, judged.scored)
    if isinstance(recipe, DPORecipe):
        selecting.make_preference_pairs(job, table, recipe.pairs, judged.comparisons, selecting.truncation(recipe))
    else:
        selecting.select_candidates(job, table, recipe.select)
    learning.train(job, recipe)


def _learn_on_policy(job: Job, recipe: PPORecipe | GRPORecipe | RLOORecipe) -> None:
    from recipes.on_policy import train_guarded

    held_out = recipe.evaluate.prompts
    _, rest = stages.prepare_prompts(job, recipe.prompts, held_out=held_out, seed=recipe.seed)
    train_guarded(job, recipe, rest)
    _evaluate(job, recipe, rest)


def _evaluate(job: Job, recipe: learning.PolicyRecipe, held_out: list[Prompt]) -> None:
    learning.evaluate(
        job,
        recipe.policy,
        recipe.train.tuning,
        recipe.judge,
        recipe.failures,
        recipe.evaluate,
        held_out,
        seed=recipe.seed,
    )


def _train_judge(job: Job, recipe: TrainJudgeRecipe) -> None:
    from recipes import judge_stages

    held_out = judge_stages.prepare_examples(job, recipe)
    judge_stages.measure_judge(job, recipe, held_out, "before")
    judge_stages.train(job, recipe)
    judge_stages.measure_judge(job, recipe, held_out, "after")
    judge_stages.judge_held_out(job, recipe, held_out)
