"""Which questions a recipe would ask its judge, before it asks any.

Where the responses exist (a file of them, or a run that has sampled), the questions are the real ones. Where they are
still to be sampled, each prompt is rendered once, stands for as many questions as the design makes of its candidates,
and every response counts with its token limit: then the numbers are the most it can be. `ties` compares at most a
ring, when all candidates are rated equal, and just the ties once a run has rated them. Which candidate is the anchor
is known only then; how many are compared with it is known before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from recipes.learning_stages import PolicyRecipe
from recipes.schema import ComparisonSettings, JudgeRecipe, Recipe, RoundedRecipe, SamplingRecipe
from recipes.splitting import choose_prompts
from recipes.stages import BUNDLED_CANDIDATES, read_source
from rewards.designs import Design, pairs_for
from rewards.errors import InputError
from rewards.inputs import CandidateRow, read_responses
from rewards.jsonl import read_records
from rewards.judges.base import CompareItem, RateItem
from rewards.judges.questions import compare_question, rate_question
from rewards.judging_cost import Planned, plan_items
from rewards.protocol.render import Mode
from rewards.protocol.spec import JudgeProtocol
from rewards.ratings import rewards_from_ratings
from rewards.types import Candidate, Judgment, Prompt, Reward
from rl.run_folder import RunFolder

Item = RateItem | CompareItem
_STANDS_IN = "…"
"""Text of a response that is not there yet; its tokens are counted apart."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a job would ask, and items to ask when its judge is to be timed."""

    planned: tuple[Planned, ...]
    items: tuple[Item, ...]
    own: bool = True
    """Whether the items are the job's own, and not the small bundled ones."""


def plan_recipe(recipe: Recipe, protocol: JudgeProtocol, mode: Mode) -> Work:
    """The questions of a recipe. Raises InputError for a kind that asks no judge about candidates."""
    if isinstance(recipe, JudgeRecipe):
        path = BUNDLED_CANDIDATES if recipe.candidates == "bundled" else Path(recipe.candidates)
        prompts, candidates = _read(read_responses(path, columns=recipe.columns, on_bad=recipe.on_bad).records)
        asking = _Asking(protocol, mode, recipe.compare, recipe.seed, _rated(RunFolder(recipe.output)))
        return known_work(prompts, candidates, asking)
    if not isinstance(recipe, SamplingRecipe):
        raise InputError(
            f"expected a recipe whose judge rates candidates with --dry-run (judge, filter, best_of_n, rft, dpo, "
            f"kto, quickstart), got {recipe.recipe}"
        )
    run, later = RunFolder(recipe.output), _evaluation(recipe, protocol, mode)
    if "sample" in run.finished() and _rounds(recipe) == 1:
        prompts, candidates = list(read_records(run.prompts, Prompt)), list(read_records(run.candidates, Candidate))
        work = known_work(prompts, candidates, _Asking(protocol, mode, recipe.compare, recipe.seed, _rated(run)))
    else:
        work = _unsampled(recipe, protocol, mode)
    return Work((*work.planned, *later), work.items, work.own)


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
    design: Design = "ties" if ties else _shape(asking.compare)
    return [
        CompareItem(prompt=prompt, first=by_id[first], second=by_id[second])
        for prompt in prompts
        for first, second in pairs_for(groups[prompt.id], design, rewards=asking.rated, seed=asking.seed)
    ]


def _shape(compare: ComparisonSettings) -> Literal["all", "circular", "anchor"]:
    """The design whose pairs can be told without ratings: ties make at most a ring."""
    return compare.design if compare.design in ("all", "anchor") else "circular"


def pairs_of_design(compare: ComparisonSettings, n: int) -> int:
    """The most pairs that a design makes of the n candidates of a prompt, each to be asked in one or two orders."""
    if compare.design == "none":
        return 0
    return len(pairs_for([_stand_in("prompt", number) for number in range(n)], _shape(compare)))


def _stand_in(prompt_id: str, number: int) -> Candidate:
    return Candidate(id=f"{prompt_id}/{number}", prompt_id=prompt_id, text=f"{_STANDS_IN}{number}", index=number)


def _unsampled(recipe: SamplingRecipe, protocol: JudgeProtocol, mode: Mode) -> Work:
    work, _ = _chosen(recipe)
    n, tokens, rounds = recipe.sampling.n, recipe.sampling.max_new_tokens, _rounds(recipe)
    planned = [unseen("ratings", work, protocol, mode, responses=1, stands_for=n * rounds, tokens=tokens)]
    pairs = pairs_of_design(recipe.compare, n) * (2 if recipe.compare.both_orders else 1) * rounds
    if pairs and protocol.compare_by == "question":  # else they are made of the ratings
        planned.append(unseen("comparisons", work, protocol, mode, responses=2, stands_for=pairs, tokens=tokens))
    bundled = known_work(
        *_read(read_responses(BUNDLED_CANDIDATES).records), _Asking(protocol, mode, recipe.compare, recipe.seed)
    )
    return Work(tuple(planned), bundled.items, own=False)


def _rounds(recipe: SamplingRecipe) -> int:
    """How many times every prompt is sampled for and judged: once where each round has prompts of its own."""
    if not isinstance(recipe, RoundedRecipe) or recipe.rounds.fresh_prompts:
        return 1
    return recipe.rounds.count


def unseen(
    name: str,
    prompts: Sequence[Prompt],
    protocol: JudgeProtocol,
    mode: Mode,
    *,
    responses: Literal[1, 2],
    stands_for: int,
    tokens: int,
) -> Planned:
    """Questions about responses that do not exist yet, of at most so many tokens each."""
    asked = []
    for prompt in prompts:
        one, two = _stand_in(prompt.id, 0), _stand_in(prompt.id, 1)
        if responses == 1:
            asked.append(rate_question(RateItem(prompt=prompt, candidate=one), protocol, mode))
        else:
            asked.append(compare_question(CompareItem(prompt=prompt, first=one, second=two), protocol, mode))
    return Planned(
        name,
        "rate" if responses == 1 else "compare",
        tuple(question for question in asked if question is not None),
        stands_for=stands_for,
        unseen_tokens=responses * tokens,
        at_most=True,
    )


def _chosen(recipe: SamplingRecipe) -> tuple[list[Prompt], list[Prompt]]:
    prompts, _ = read_source(recipe.prompts)
    held_out = _held_out(recipe)
    return choose_prompts(prompts, limit=recipe.prompts.limit, held_out=held_out, seed=recipe.seed)


def _held_out(recipe: SamplingRecipe) -> int:
    return recipe.evaluate.prompts if isinstance(recipe, PolicyRecipe) else 0


def _evaluation(recipe: SamplingRecipe, protocol: JudgeProtocol, mode: Mode) -> list[Planned]:
    """The trained policy against the start policy, in both orders, where the recipe trains one."""
    if not isinstance(recipe, PolicyRecipe):
        return []
    _, held_out = _chosen(recipe)
    limit = recipe.evaluate.max_new_tokens
    responses: Literal[1, 2] = 2 if protocol.compare_by == "question" else 1  # two orders, or two ratings
    return [unseen("evaluation", held_out, protocol, mode, responses=responses, stands_for=2, tokens=limit)]
