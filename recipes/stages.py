"""The arrows of the pipeline, each one function: from the file before it to its own file in the run folder.

    prompts -> candidates -> judgments, comparisons -> rewards -> selected, pairs -> policy -> evaluation

Every function can be called again on a folder where it has finished (it then reads its file) or was stopped
half-way (it then does what is missing). A model is loaded inside the stage that needs it and let go at its
end, so that judge and policy never have to fit side by side.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, JsonValue, TypeAdapter

from recipes.certified import note_certificate
from recipes.job import Job
from recipes.schema import JudgeRecipe
from recipes.sections import (
    ComparisonSettings,
    FailureSettings,
    PolicySettings,
    PromptSettings,
    RewardSettings,
    SamplingSettings,
)
from recipes.splitting import choose_prompts
from rewards.documents import write_json
from rewards.jsonl import read_records, write_records
from rewards.judges.base import CompareItem, Judge, RateItem
from rewards.judges.config import JudgeSettings
from rewards.judging import compare_to_file, rate_to_file
from rewards.types import Candidate, Comparison, Judgment, Prompt, Reward, Scored, Unscored

RecordT = TypeVar("RecordT", bound=BaseModel)
BUNDLED_CANDIDATES = Path(__file__).parent / "data" / "candidates.jsonl"
SCORED: TypeAdapter[Reward | Unscored] = TypeAdapter(Scored)


def prepare_prompts(
    job: Job, settings: PromptSettings, *, held_out: int, seed: int
) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts to work on and, from the same source, others for the evaluation."""
    run = job.run
    if not job.done("prompts"):
        with job.stage("prompts", "Reading prompts") as counts:
            prompts, skipped = read_source(settings)
            prompts = with_scenarios(prompts, settings.classify, counts)
            work, rest = choose_prompts(prompts, limit=settings.limit, held_out=held_out, seed=seed)
            write_records(run.prompts, work)
            run.evaluation_prompts.parent.mkdir(exist_ok=True)
            write_records(run.evaluation_prompts, rest)
            counts.update({"prompts": len(work), "held_out": len(rest)})
            counts.update({f"skipped_{reason}": count for reason, count in skipped.items()})
    return _read(run.prompts, Prompt), _read(run.evaluation_prompts, Prompt)


def read_source(settings: PromptSettings) -> tuple[list[Prompt], Mapping[str, int]]:
    """All prompts of the source, and how many rows were skipped for which reason."""
    if settings.source == "bundled":
        from recipes.bundled import bundled_prompts

        return bundled_prompts(), {}
    from rewards.inputs import read_prompts

    result = read_prompts(Path(settings.source), columns=settings.columns, on_bad=settings.on_bad)
    return list(result.records), result.skipped


def with_scenarios(prompts: list[Prompt], classifier: str, counts: dict[str, int | float]) -> list[Prompt]:
    """The prompts, those without a scenario labelled by a classifier (`none`: by none), with what it found counted."""
    if classifier == "none":
        return prompts
    from judge_training.scenario_classifier import label_prompts, open_classifier
    from rewards.scenario_labels import is_classified, is_outside

    labelled = label_prompts(prompts, open_classifier(classifier))
    counts.update({"classified": sum(map(is_classified, labelled)), "outside": sum(map(is_outside, labelled))})
    return labelled


def read_candidates(job: Job, recipe: JudgeRecipe) -> tuple[list[Prompt], list[Candidate]]:
    """Responses that exist already, with their prompts."""
    run = job.run
    if not job.done("candidates"):
        from rewards import inputs

        path = BUNDLED_CANDIDATES if recipe.candidates == "bundled" else Path(recipe.candidates)
        with job.stage("candidates", f"Reading responses from {recipe.candidates}") as counts:
            result = inputs.read_responses(path, columns=recipe.columns, on_bad=recipe.on_bad)
            prompts = list({row.prompt.id: row.prompt for row in result.records}.values())
            prompts = with_scenarios(prompts, recipe.classify, counts)
            write_records(run.prompts, prompts)
            write_records(run.candidates, (row.candidate for row in result.records))
            counts.update({"prompts": len(prompts), "candidates": len(result.records)})
            counts.update({f"skipped_{reason}": count for reason, count in result.skipped.items()})
        job.tracker.artifact("candidates", run.candidates)
    return _read(run.prompts, Prompt), _read(run.candidates, Candidate)


def sample_candidates(
    job: Job, policy: PolicySettings, sampling: SamplingSettings, prompts: Sequence[Prompt], *, seed: int
) -> list[Candidate]:
    """N candidates for every prompt."""
    if not job.done("sample"):
        with job.stage("sample", f"Sampling {sampling.n} candidates for each of {len(prompts)} prompts") as counts:
            candidates = draw(policy, sampling, prompts, job.run.candidates, seed=seed)
            counts.update(
                {"candidates": len(candidates), "cut_off": sum(c.finish_reason == "length" for c in candidates)}
            )
            counts.update({"tokens": sum(c.token_count or 0 for c in candidates)})
        job.tracker.artifact("candidates", job.run.candidates)
    return _read(job.run.candidates, Candidate)


def draw(
    policy: PolicySettings, sampling: SamplingSettings, prompts: Sequence[Prompt], path: Path, *, seed: int
) -> list[Candidate]:
    """Sample into a file, going on from what it holds; temperature 0 is greedy."""
    greedy = sampling.temperature == 0
    drawing: dict[str, Any] = {
        "n": sampling.n,
        "max_new_tokens": sampling.max_new_tokens,
        "temperature": 1.0 if greedy else sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "batch_size": sampling.batch_size,
        "seed": seed,
        "greedy": greedy,
    }
    model: dict[str, Any] = {
        "name": policy.model,
        "adapter": policy.adapter,
        "dtype": policy.dtype,
        "attention": policy.attention,
    }
    if sampling.engine == "ray":
        from rl.ray_sampling import sample_on_ray
        from rl.sampling import keep

        keep(
            lambda there: sample_on_ray(sampling.ray, model, prompts, skip=there, **drawing),
            prompts,
            path,
            n=sampling.n,
        )
    else:
        from rewards.judges.local_model import load_model
        from rl.sampling import sample_to_file

        sample_to_file(load_model(**model), prompts, path, **drawing)
    return _read(path, Candidate)


def rate_candidates(
    job: Job,
    opened: OpenedJudge,
    failures: FailureSettings,
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
) -> list[Judgment]:
    """A rating of every candidate."""
    if not job.done("rate"):
        by_id = {prompt.id: prompt for prompt in prompts}
        items = [RateItem(prompt=by_id[c.prompt_id], candidate=c) for c in candidates]
        with job.stage("rate", f"Judging: {len(items)} ratings ({opened.settings.mode} mode)") as counts:
            judgments = rate_to_file(
                opened.judge, items, job.run.judgments, limit=failures.limit, minimum=failures.minimum
            )
            counts.update({"ratings": len(judgments)} | _failures(judgments))
            job.tracker.samples(job.named("rate"), _rating_rows(items, judgments))
        job.tracker.artifact("judgments", job.run.judgments, inputs=[job.run.candidates])
    return _read(job.run.judgments, Judgment)


def compare_candidates(
    job: Job,
    opened: OpenedJudge,
    failures: FailureSettings,
    design: ComparisonSettings,
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    judgments: Sequence[Judgment],
    *,
    seed: int,
) -> list[Comparison]:
    """Comparisons of the pairs that the design names."""
    if design.design == "none":
        return []
    if not job.done("compare"):
        items = _pair_items(design.design, prompts, candidates, judgments, seed=seed)
        orders = "both orders" if design.both_orders else "one order"
        with job.stage("compare", f"Judging: {len(items)} comparisons in {orders}") as counts:
            comparisons = compare_to_file(
                opened.judge,
                items,
                job.run.comparisons,
                both_orders=design.both_orders,
                limit=failures.limit,
                minimum=failures.minimum,
            )
            counts.update({"comparisons": len(comparisons)} | _orders(comparisons))
            job.tracker.samples(job.named("compare"), comparison_rows(items, comparisons))
        job.tracker.artifact("judgments", job.run.comparisons, inputs=[job.run.candidates])
    return _read(job.run.comparisons, Comparison)


def _pair_items(
    design: Literal["all", "circular", "anchor", "ties"],
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    judgments: Sequence[Judgment],
    *,
    seed: int,
) -> list[CompareItem]:
    from rewards.designs import pairs_for
    from rewards.ratings import rewards_from_ratings

    rated = {r.candidate_id: r for r in rewards_from_ratings(judgments) if isinstance(r, Reward)}
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.prompt_id].append(candidate)
    by_id = {candidate.id: candidate for candidate in candidates}
    return [
        CompareItem(prompt=prompt, first=by_id[first], second=by_id[second])
        for prompt in prompts
        for first, second in pairs_for(groups[prompt.id], design, rewards=rated, anchor=None, seed=seed)
    ]


def make_rewards(
    job: Job,
    settings: RewardSettings,
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    judgments: Sequence[Judgment],
    comparisons: Sequence[Comparison],
) -> list[Reward | Unscored]:
    """One reward, or the reason why there is none, for every candidate."""
    from rewards.scenario_labels import note_outside

    if not job.done("reward"):
        with job.stage("reward", f"Rewards from {settings.source.replace('_', ' ')}") as counts:
            scored = note_outside(_rewards(settings, candidates, judgments, comparisons), prompts)
            write_records(job.run.rewards, scored)
            values = [reward.value for reward in scored if isinstance(reward, Reward)]
            counts.update({"rewards": len(values), "unscored": len(scored) - len(values)})
            counts.update({"mean_reward": sum(values) / len(values)} if values else {})
    return list(read_records(job.run.rewards, SCORED))


def _rewards(
    settings: RewardSettings,
    candidates: Sequence[Candidate],
    judgments: Sequence[Judgment],
    comparisons: Sequence[Comparison],
) -> list[Reward | Unscored]:
    if settings.source == "ratings":
        from rewards.calibration import CalibrationMap
        from rewards.ratings import rewards_from_ratings

        scored = rewards_from_ratings(
            judgments,
            candidates={candidate.id: candidate for candidate in candidates},
            calibration=None if settings.calibration is None else CalibrationMap.load(settings.calibration),
            rescale=settings.rescale,
            centre=settings.centre,
            clip=settings.clip,
            length=settings.length,
        )
        if settings.tie_break is None:
            return scored
        from rewards.verdicts import break_ties

        return break_ties(scored, comparisons, candidates, width=settings.tie_break)
    from rewards.verdicts import rewards_from_comparisons

    return rewards_from_comparisons(comparisons, candidates, method=settings.source, soft=settings.soft)


def measure_best_of_n(job: Job, scored: Sequence[Reward | Unscored], *, seed: int) -> None:
    """The Best-of-N curve of the rewards."""
    from rl.best_of_n import best_of_n_curve

    if job.done("best_of_n"):
        return
    with job.stage("best_of_n", "Best-of-N curve") as counts:
        curve = best_of_n_curve(scored, seed=seed)
        write_json(job.run.best_of_n, curve)
        for point in curve.points:
            job.tracker.scalars(job.named("best_of_n_curve"), point.k, {"reward": point.reward.value, "kl": point.kl})
        if curve.points:
            last = curve.points[-1]
            counts.update(
                {"k": last.k, "gain": last.gain.value, "gain_low": last.gain.low, "gain_high": last.gain.high}
            )


class OpenedJudge:
    """The judge of a run, opened when a stage first asks it and kept for the stage after it."""

    def __init__(self, job: Job, settings: JudgeSettings) -> None:
        self._job = job
        self.settings = settings

    @cached_property
    def judge(self) -> Judge:
        """The judge; opens it once."""
        return open_judge(self._job, self.settings)


def open_judge(job: Job, settings: JudgeSettings) -> Judge:
    """The judge of this run, with the run's cache; its card goes into the folder, and its certificate if any."""
    from rewards.judges.load import load_judge

    judge = load_judge(settings if settings.cache else settings.model_copy(update={"cache": job.run.cache}))
    note_certificate(job.run, settings)
    write_json(job.run.judge, judge.card)
    return judge


def _rating_rows(items: Sequence[RateItem], judgments: Sequence[Judgment]) -> list[dict[str, JsonValue]]:
    """Judged samples as rows of a table."""
    by_id = {item.candidate.id: item for item in items}
    return [_rating_row(by_id[judgment.candidate_ids[0]], judgment) for judgment in judgments]


def _rating_row(item: RateItem, judgment: Judgment) -> dict[str, JsonValue]:
    outcome = judgment.outcome
    return {
        "candidate_id": item.candidate.id,
        "prompt": item.prompt.messages[-1].content,
        "response": item.candidate.text,
        "rating": outcome.score if outcome.kind == "rating" else None,
        "failure": outcome.reason if outcome.kind == "unparsed" else None,
        "critique": judgment.critique,
    }


def comparison_rows(items: Sequence[CompareItem], comparisons: Sequence[Comparison]) -> list[dict[str, JsonValue]]:
    """Compared samples as rows of a table."""
    by_ids = {(item.first.id, item.second.id): item for item in items}
    return [_comparison_row(by_ids[one.first_id, one.second_id], one) for one in comparisons]


def _comparison_row(item: CompareItem, comparison: Comparison) -> dict[str, JsonValue]:
    outcome = comparison.outcome
    return {
        "first_id": item.first.id,
        "second_id": item.second.id,
        "prompt": item.prompt.messages[-1].content,
        "first": item.first.text,
        "second": item.second.text,
        "outcome": outcome.winner if outcome.kind == "verdict" else outcome.reason,
        "critiques": "\n\n".join(judgment.critique for judgment in comparison.judgments),
    }


def _failures(judgments: Sequence[Judgment]) -> dict[str, int]:
    failed = Counter(j.outcome.reason for j in judgments if j.outcome.kind == "unparsed")
    return {f"failed_{reason}": count for reason, count in failed.items()}


def _orders(comparisons: Sequence[Comparison]) -> dict[str, int]:
    return dict(Counter(c.outcome.kind if c.outcome.kind == "verdict" else c.outcome.reason for c in comparisons))


def _read(path: Path, kind: type[RecordT]) -> list[RecordT]:
    return list(read_records(path, kind))
