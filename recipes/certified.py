"""A judge's certificate in a run: asked for before a policy is trained, and kept for the report.

It is looked at before anything is sampled, since a run that stops for want of it after hours has wasted them: the
judge is loaded once, where its digest is needed, and let go again. Without `allow_uncertified` a judge that nobody
measured is refused, and so is the certificate of other weights, another protocol, mode or decoding. What it says is
not judged. A calibration map is looked at likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from recipes.job import Job
from recipes.schema import JudgeRecipe, OnPolicyRecipe, Recipe, SamplingRecipe, TrainingRecipe
from rewards.calibration import CalibrationMap
from rewards.certificate import JudgeCertificate, check_certificate, find_certificate
from rewards.errors import InputError
from rewards.judges.base import Judge, JudgeCard
from rewards.judges.config import JudgeSettings
from rl.run_folder import RunFolder


def check_judge(job: Job, recipe: Recipe) -> None:
    """See that the calibration map and, before a training, the certificate are those of the recipe's judge.

    Keeps a copy of both. Raises InputError when there is no certificate and none is not allowed, when one of them is
    another judge's or cannot be read, and when the map is another one than the run began with; and MissingFileError.
    """
    if not isinstance(recipe, SamplingRecipe | JudgeRecipe | OnPolicyRecipe):
        return

    @cache
    def opened() -> Judge:
        from rewards.judges.load import load_judge

        return load_judge(recipe.judge)

    _keep_calibration(job, recipe, opened)
    if isinstance(recipe, TrainingRecipe | OnPolicyRecipe):
        _require_certificate(job, recipe, opened)


def _require_certificate(job: Job, recipe: TrainingRecipe | OnPolicyRecipe, judge: Callable[[], Judge]) -> None:
    if recipe.allow_uncertified:
        note_certificate(job.run, recipe.judge, recipe.judge_certificate)
        return
    if _checked(job.run):
        return
    path = find_certificate(recipe.judge, recipe.judge_certificate)
    if path is None:
        raise InputError(
            f"expected a certificate of the judge {recipe.judge.model} (judge_certificate.json beside its weights or "
            "adapter, or the file that the key judge_certificate names), found none: nobody measured this judge, and "
            "training takes its rewards at their word. Measure it with autoj certify --out FOLDER and the same "
            "--judge.… settings, or train without: --allow-uncertified true"
        )
    check_certificate(path, judge()).save(job.run.certificate)


def _keep_calibration(
    job: Job, recipe: SamplingRecipe | JudgeRecipe | OnPolicyRecipe, judge: Callable[[], Judge]
) -> None:
    if recipe.reward.calibration is None:
        return
    named, kept = recipe.reward.calibration, job.run.calibration
    if kept.is_file():
        if named.is_file() and CalibrationMap.load(named) != CalibrationMap.load(kept):
            raise InputError(
                f"{named} is another calibration map than the one that this run began with, which is {kept}: put that "
                "one in its place, or start over with --clean"
            )
        return
    found = CalibrationMap.load(named)
    found.check_rewards(judge().card.digest if found.judge else "", recipe.reward.rescale)
    found.save(kept)


def note_certificate(run: RunFolder, judge: JudgeSettings, named: Path | None = None) -> None:
    """Keep a copy of the judge's certificate in the run folder, where there is one, whichever judge it is of."""
    if run.certificate.is_file():
        return
    path = find_certificate(judge, named)
    if path is not None:
        JudgeCertificate.load(path).save(run.certificate)


def _checked(run: RunFolder) -> bool:
    """Whether the run has judged already with the judge that its certificate is of."""
    if not run.certificate.is_file() or not run.judge.is_file():
        return False
    return JudgeCertificate.load(run.certificate).fits(JudgeCard.model_validate_json(run.judge.read_bytes()))
