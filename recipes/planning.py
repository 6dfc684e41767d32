"""Which questions a recipe would ask its judge, before it asks any.

Where the responses exist (a file of them, or a run that has sampled), the questions are the real ones. Where they are
still to be sampled, they are those that the design makes of so many responses (`recipes.design_questions`), which is
the most it can be. `ties` compares at most a ring, when all candidates are rated equal, and just the ties once a run
has rated them. Which candidate is the anchor is known only then; how many are compared with it is known before. A
stage that the run has finished asks nothing more.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recipes.design_questions import design_questions, match_questions, pair_shape, training_questions, unseen
from recipes.learning_stages import PolicyRecipe
from recipes.on_policy import Recipe as OnPolicy
from recipes.schema import JudgeRecipe, RoundedRecipe, SamplingRecipe
from recipes.sections import ComparisonSettings
from recipes.splitting import choose_prompts
from recipes.stages import BUNDLED_CANDIDATES, read_source
from rewards.designs import Design, pairs_for
from rewards.inputs import CandidateRow, read_responses
from rewards.jsonl import read_records
from rewards.judges.base import CompareItem, RateItem
from rewards.judging_cost import Planned, plan_items
from rewards.protocol.render import Mode
from rewards.protocol.spec import JudgeProtocol
from rewards.ratings import rewards_from_ratings
from rewards.types import Candidate, Judgment, Prompt, Reward
from rl.on_policy import plan, prompts_a_round
from rl.run_folder import RunFolder

Item = RateItem | CompareItem
JudgingRecipe = JudgeRecipe | SamplingRecipe | OnPolicy
"""Recipes whose judge rates or compares candidates."""
GuardedRecipe = RoundedRecipe | OnPolicy
"""Recipes that may have a guard."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a job would ask, and items to ask when its judge is to be timed."""

    planned: tuple[Planned, ...]
    items: tuple[Item, ...]
    own: bool = True
    """Whether the items are the job's own, and not the small bundled ones."""


def plan_recipe(recipe: JudgingRecipe, protocol: JudgeProtocol, mode: Mode) -> Work:
    """The questions of a recipe."""
    if isinstance(recipe, JudgeRecipe):
        path = BUNDLED_CANDIDATES if recipe.candidates == "bundled" else Path(recipe.candidates)
        prompts, candidates = _read(read_responses(path, columns=recipe.columns, on_bad=recipe.on_bad).records)
        asking = _Asking(protocol, mode, recipe.compare, recipe.seed, _rated(RunFolder(recipe.output)))
        return known_work(prompts, candidates, asking)
    if isinstance(recipe, OnPolicy):
        return _on_policy(recipe, protocol, mode)
    run = RunFolder(recipe.output)
    chosen, held_out = _chosen(recipe)
    later = [*_guard(recipe, chosen, held_out, protocol, mode), *_evaluation(recipe, held_out, protocol, mode)]
    if "sample" in run.finished() and _rounds(recipe) == 1:
        prompts, candidates = list(read_records(run.prompts, Prompt)), list(read_records(run.candidates, Candidate))
        work = known_work(prompts, candidates, _Asking(protocol, mode, recipe.compare, recipe.seed, _rated(run)))
        return Work((*work.planned, *later), work.items)
    planned = _unsampled(recipe, chosen, protocol, mode)
    items = _bundled(protocol, mode, recipe.compare, recipe.seed)
    return Work((*planned, *later), items, own=False)


@dataclass(frozen=True, slots=True)
class _Asking:
    """How candidates are asked about."""

    protocol: JudgeProtocol
    mode: Mode
    compare: ComparisonSettings
    seed: int
    rated: Mapping[str, Reward] | None = None
    """By candidate id, where a run has rated them already."""


def _read(rows: Sequence[CandidateRow]) -> tuple[list[Prompt], list[Candidate]]:
    return list({row.prompt.id: row.prompt for row in rows}.values()), [row.candidate for row in rows]


def _rated(run: RunFolder) -> dict[str, Reward] | None:
    """What a run's finished ratings make of its candidates, as its comparisons see them."""
    if "rate" not in run.finished():
        return None
    scored = rewards_from_ratings(list(read_records(run.judgments, Judgment)))
    return {one.candidate_id: one for one in scored if isinstance(one, Reward)}


def known_work(prompts: Sequence[Prompt], candidates: Sequence[Candidate], asking: _Asking) -> Work:
    """The questions about candidates that exist."""
    by_id = {prompt.id: prompt for prompt in prompts}
    rated = [RateItem(prompt=by_id[one.prompt_id], candidate=one) for one in candidates]
    planned, items = [plan_items("ratings", rated, asking.protocol, asking.mode)], list[Item](rated)
    compare = asking.compare
    if compare.design != "none":
        pairs = _pairs(prompts, candidates, asking)
        both = compare.both_orders
        line = plan_items("comparisons", pairs, asking.protocol, asking.mode, both_orders=both)
        planned.append(replace(line, at_most=compare.design == "ties" and asking.rated is None))
        items += pairs
    return Work(tuple(planned), tuple(items))


def _pairs(prompts: Sequence[Prompt], candidates: Sequence[Candidate], asking: _Asking) -> list[CompareItem]:
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for one in candidates:
        groups[one.prompt_id].append(one)
    by_id = {one.id: one for one in candidates}
    ties = asking.compare.design == "ties" and asking.rated is not None
    design: Design = "ties" if ties else pair_shape(asking.compare.design)
    return [
        CompareItem(prompt=prompt, first=by_id[first], second=by_id[second])
        for prompt in prompts
        for first, second in pairs_for(groups[prompt.id], design, rewards=asking.rated, seed=asking.seed)
    ]


def _unsampled(
    recipe: SamplingRecipe, prompts: Sequence[Prompt], protocol: JudgeProtocol, mode: Mode
) -> list[Planned]:
    return design_questions(
        prompts,
        protocol,
        mode,
        groups=len(prompts) * _rounds(recipe),
        n=recipe.sampling.n,
        tokens=recipe.sampling.max_new_tokens,
        design=recipe.compare.design,
        both_orders=recipe.compare.both_orders,
    )


def _bundled(protocol: JudgeProtocol, mode: Mode, compare: ComparisonSettings, seed: int) -> tuple[Item, ...]:
    """Items about bundled responses, to time a judge with where the job's own are still to be sampled."""
    prompts, candidates = _read(read_responses(BUNDLED_CANDIDATES).records)
    return known_work(prompts, candidates, _Asking(protocol, mode, compare, seed)).items


def _rounds(recipe: SamplingRecipe) -> int:
    """How many times every prompt is sampled for and judged: once where each round has prompts of its own."""
    if not isinstance(recipe, RoundedRecipe) or recipe.rounds.fresh_prompts:
        return 1
    return recipe.rounds.count


def _guard(
    recipe: JudgingRecipe,
    prompts: Sequence[Prompt],
    held_out: Sequence[Prompt],
    protocol: JudgeProtocol,
    mode: Mode,
) -> list[Planned]:
    """The guard's looks, each a rating of one response to every held-out prompt."""
    if not isinstance(recipe, GuardedRecipe) or recipe.guard is None:
        return []
    total, tokens = len(held_out) * _looks(recipe, len(prompts)), recipe.evaluate.max_new_tokens
    return [unseen("guard", held_out, protocol, mode, responses=1, total=total, tokens=tokens)]


def _looks(recipe: GuardedRecipe, prompts: int) -> int:
    """At the start policy and after every round, or every so many steps and after the last one."""
    if isinstance(recipe, RoundedRecipe):
        return 1 + recipe.rounds.count
    _, steps = plan(recipe.train, prompts, recipe.launch.processes)
    return 1 + math.ceil(steps / recipe.guard.every) if recipe.guard is not None else 0


def plan_gold(recipe: GuardedRecipe, protocol: JudgeProtocol, mode: Mode) -> Work:
    """What the gold judge of a recipe's guard would be asked."""
    planned = _guard(recipe, *_chosen(recipe), protocol, mode)
    return Work(tuple(planned), _bundled(protocol, mode, ComparisonSettings(), recipe.seed), own=False)


def _on_policy(recipe: OnPolicy, protocol: JudgeProtocol, mode: Mode) -> Work:
    """The ratings or comparisons of all that the policy writes while it trains, its guard and its evaluation."""
    run, settings, processes = RunFolder(recipe.output), recipe.train, recipe.launch.processes
    prompts, held_out = _chosen(recipe)
    batches, _ = plan(settings, len(prompts), processes)
    design = recipe.reward.compare or "none"
    planned = training_questions(
        prompts,
        protocol,
        mode,
        batches=batches,
        responses=prompts_a_round(settings, processes) * settings.responses_per_prompt,
        group=settings.responses_per_prompt,
        tokens=settings.max_new_tokens,
        design=design,
    )
    training = [] if "train" in run.finished() else planned
    later = [*_guard(recipe, prompts, held_out, protocol, mode), *_evaluation(recipe, held_out, protocol, mode)]
    items = _bundled(protocol, mode, ComparisonSettings(design=design), recipe.seed)
    if design != "none":
        items = tuple(item for item in items if isinstance(item, CompareItem))
    return Work((*training, *later), items, own=False)


def _chosen(recipe: SamplingRecipe | OnPolicy) -> tuple[list[Prompt], list[Prompt]]:
    prompts, _ = read_source(recipe.prompts)
    held_out = recipe.evaluate.prompts if isinstance(recipe, PolicyRecipe) else 0
    return choose_prompts(prompts, limit=recipe.prompts.limit, held_out=held_out, seed=recipe.seed)


def _evaluation(
    recipe: SamplingRecipe | OnPolicy, held_out: Sequence[Prompt], protocol: JudgeProtocol, mode: Mode
) -> list[Planned]:
    """The trained policy against the start policy, where the recipe trains one and has not compared them yet."""
    if not isinstance(recipe, PolicyRecipe) or "evaluate" in RunFolder(recipe.output).finished():
        return []
    return [match_questions(held_out, protocol, mode, tokens=recipe.evaluate.max_new_tokens)]
