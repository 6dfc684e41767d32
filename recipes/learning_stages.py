"""The arrows after selection: a trained policy, and the trained policy against the one it started from.

Of several processes, all train; the first one does so as a stage of its run (`train`), the others only train along
(`recipes.together`). Both call the same `PolicyTraining`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import JsonValue

from recipes.job import Job
from recipes.schema import (
    DPORecipe,
    GRPORecipe,
    KTORecipe,
    OnPolicyRecipe,
    PPORecipe,
    QuickstartRecipe,
    RejectionSamplingRecipe,
    RLOORecipe,
)
from recipes.sections import EvaluationSettings, FailureSettings, PolicySettings, SamplingSettings
from recipes.stages import comparison_rows, draw, open_judge
from rewards.documents import write_json
from rewards.jsonl import write_records
from rewards.judges.config import Attention, Dtype, JudgeSettings
from rewards.judging import compare_to_file
from rewards.training.launch_settings import LaunchSettings
from rewards.types import Candidate, Prompt
from rl.evaluate import SameTextTies, match, summarise
from rl.results import Evaluation
from rl.run_folder import RunFolder
from rl.training import TrainingResult

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
        launch: LaunchSettings | None,
        callbacks: Sequence[TrainerCallback],
        resume: bool,
    ) -> TrainingResult: ...


PolicyRecipe = QuickstartRecipe | RejectionSamplingRecipe | DPORecipe | KTORecipe | PPORecipe | GRPORecipe | RLOORecipe
"""Recipes that train a policy on a file of the run."""


@dataclass(frozen=True, slots=True)
class PolicyTraining:
    """The training of a recipe: which trainer, on which file."""

    title: str
    data: Path
    trainer: _Train

    def __call__(
        self, recipe: PolicyRecipe, output: Path, callbacks: Sequence[TrainerCallback] = ()
    ) -> TrainingResult:
        """Train, going on from the last checkpoint in `output`. Every process of the job must call it."""
        return self.trainer(
            self.data,
            model=recipe.policy.model,
            adapter=recipe.policy.adapter,
            dtype=recipe.policy.dtype,
            attention=recipe.policy.attention,
            output=output,
            trl=recipe.trl,
            launch=recipe.launch,
            callbacks=callbacks,
            resume=True,
        )


def policy_training(run: RunFolder, recipe: PolicyRecipe) -> PolicyTraining:
    """DPO on the run's pairs, fine-tuning or KTO on its selected candidates, or on-policy training on its prompts."""
    if isinstance(recipe, OnPolicyRecipe):
        from recipes.on_policy import learner

        return PolicyTraining(f"Training with {recipe.recipe.upper()}", run.prompts, learner(run, recipe))
    if isinstance(recipe, RejectionSamplingRecipe):
        from rl.rejection_sampling import train_on_selected

        tune = partial(train_on_selected, settings=recipe.train)
        return PolicyTraining("Fine-tuning on the selected responses", run.selected, tune)
    if isinstance(recipe, KTORecipe):
        from rl.kto import train_kto

        return PolicyTraining("Training with KTO", run.selected, partial(train_kto, settings=recipe.train))
    from rl.dpo import train_dpo

    return PolicyTraining("Training with DPO", run.pairs, partial(train_dpo, settings=recipe.train))


def train(job: Job, recipe: PolicyRecipe, callbacks: Sequence[TrainerCallback] = ()) -> None:
    """The training as a stage of the run, together with the other processes where there are any."""
    if job.done("train"):
        return
    from rl.tracking import trainer_callback

    training = policy_training(job.run, recipe)
    with job.stage("train", training.title) as counts:
        watching = [*callbacks, trainer_callback(job.tracker, job.named("train"))]  # it logs what they have made of it
        result = training(recipe, job.run.policy, callbacks=watching)
        counts.update(training_counts(result))
    job.tracker.artifact("model", job.run.policy, inputs=[training.data])


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
            write_json(run.evaluation, result)
            counts.update(wins=result.wins, losses=result.losses, ties=result.ties, abstained=result.abstained)
            if result.win_rate is not None:
                counts.update(win_rate=result.win_rate.value)
        job.tracker.samples(job.named("evaluate"), comparison_rows(items, comparisons))
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
    sampling = SamplingSettings(
        n=1,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        batch_size=settings.batch_size,
    )
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
