"""The arrows after selection: a trained policy, and the trained policy against the one it started from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import JsonValue

from recipes.job import Job
from recipes.schema import EvaluationSettings, FailureSettings, PolicySettings, SamplingSettings
from recipes.stages import comparison_rows, draw, open_judge
from rewards.jsonl import write_records
from rewards.judges.config import Attention, Dtype, JudgeSettings
from rewards.judging import compare_to_file
from rewards.types import Candidate, Prompt
from rl.evaluate import SameTextTies, match, summarise
from rl.results import Evaluation
from rl.run_folder import RunFolder
from rl.training import TrainingResult
from rl.training_settings import DPOSettings, KTOSettings, SFTSettings

if TYPE_CHECKING:
    from transformers import TrainerCallback


class _Train(Protocol):
    """A trainer of a policy on the records of a file: DPO, fine-tuning, KTO."""

    def __call__(
        self,
        data: Path,
        /,
        *,
        model: str,
        adapter: Path | None,
        dtype: Dtype,
        attention: Attention,
        output: Path,
        trl: Mapping[str, JsonValue] | None,
        callbacks: Sequence[TrainerCallback],
        resume: bool,
    ) -> TrainingResult: ...


def train_on_pairs(job: Job, policy: PolicySettings, train: DPOSettings, trl: Mapping[str, JsonValue]) -> None:
    """DPO on the run's pairs."""
    from rl.dpo import train_dpo

    _train(job, "Training with DPO", partial(train_dpo, settings=train), job.run.pairs, policy, trl)


def train_on_selected(job: Job, policy: PolicySettings, train: SFTSettings, trl: Mapping[str, JsonValue]) -> None:
    """Supervised fine-tuning on the run's selected candidates."""
    from rl import rejection_sampling

    tune = partial(rejection_sampling.train_on_selected, settings=train)
    _train(job, "Fine-tuning on the selected responses", tune, job.run.selected, policy, trl)


def train_on_both_sides(job: Job, policy: PolicySettings, train: KTOSettings, trl: Mapping[str, JsonValue]) -> None:
    """KTO on the run's usable candidates, above and below the thresholds."""
    from rl.kto import train_kto

    _train(job, "Training with KTO", partial(train_kto, settings=train), job.run.selected, policy, trl)


def _train(
    job: Job, title: str, train: _Train, data: Path, policy: PolicySettings, trl: Mapping[str, JsonValue]
) -> None:
    """Train the policy on one file of the run, going on from its last checkpoint."""
    if job.done("train"):
        return
    from rl.tracking import trainer_callback

    with job.stage("train", title) as counts:
        result = train(
            data,
            model=policy.model,
            adapter=policy.adapter,
            dtype=policy.dtype,
            attention=policy.attention,
            output=job.run.policy,
            trl=trl,
            callbacks=[trainer_callback(job.tracker, "train")],
            resume=True,
        )
        counts.update(training_counts(result))
    job.tracker.artifact("model", job.run.policy, inputs=[data])


def training_counts(result: TrainingResult) -> dict[str, int | float]:
    """What a stage says of a finished training."""
    return {"steps": result.steps, "examples": result.examples, "first_loss": result.first_loss} | {
        "final_loss": result.final_loss,
        "trained_parameters": result.trained_parameters,
    }


def evaluate(
    job: Job,
    policy: PolicySettings,
    tuning: str,
    judge_settings: JudgeSettings,
    failures: FailureSettings,
    settings: EvaluationSettings,
    prompts: Sequence[Prompt],
    *,
    seed: int,
) -> Evaluation:
    """The trained policy against the start policy on held-out prompts, compared in both orders."""
    run = job.run
    if not job.done("evaluate"):
        with job.stage("evaluate", f"Evaluating on {len(prompts)} held-out prompts") as counts:
            trained, start = _both_sides(run, policy, tuning, settings, prompts, seed=seed)
            judge = SameTextTies(open_judge(job, judge_settings))
            items, _ = match(prompts, trained, start)
            comparisons = compare_to_file(
                judge, items, run.evaluation_comparisons, limit=failures.limit, minimum=failures.minimum
            )
            result = summarise(
                comparisons,
                prompts,
                trained,
                start,
                policy_name="trained policy",
                reference_name="start policy",
                seed=seed,
            )
            run.evaluation.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
            counts.update(wins=result.wins, losses=result.losses, ties=result.ties, abstained=result.abstained)
            if result.win_rate is not None:
                counts.update(win_rate=result.win_rate.value)
        job.tracker.samples("evaluate", comparison_rows(items, comparisons))
    return Evaluation.model_validate_json(run.evaluation.read_bytes())


def _both_sides(
    run: RunFolder,
    policy: PolicySettings,
    tuning: str,
    settings: EvaluationSettings,
    prompts: Sequence[Prompt],
    *,
    seed: int,
) -> tuple[list[Candidate], list[Candidate]]:
    """One response of each policy to every prompt, under ids that say whose it is."""
    sampling = SamplingSettings(n=1, max_new_tokens=settings.max_new_tokens, temperature=settings.temperature)
    sides = {
        "trained": policy.model_copy(update=trained_policy(run.policy, tuning)),
        "start": policy,
    }
    named: dict[str, list[Candidate]] = {}
    for side, model in sides.items():
        drawn = draw(model, sampling, prompts, run.evaluation_candidates.with_name(f"{side}.jsonl"), seed=seed)
        named[side] = [one.model_copy(update={"id": f"{side}:{one.id}", "source": f"{side} policy"}) for one in drawn]
    write_records(run.evaluation_candidates, [*named["trained"], *named["start"]])
    return named["trained"], named["start"]


def trained_policy(output: Path, tuning: str) -> dict[str, object]:
    """The settings that load what training left: the start policy's model with an adapter, or a model of its own."""
    return {"adapter": output} if tuning == "lora" else {"model": str(output), "adapter": None}
