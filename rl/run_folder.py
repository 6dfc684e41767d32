"""The files of one run, each the output of one stage; every stage can be resumed from its file.

    prompts -> candidates -> judgments, comparisons -> rewards -> selected, pairs -> policy -> evaluation, report

The names are here and nowhere else. Whether a stage is finished is a line in `stages.jsonl`, written after
its file is complete, with how long it took and what it counted.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from rewards.jsonl import AppendLog, read_records
from rewards.types import Record


class StageRecord(Record):
    """One finished stage."""

    stage: str
    seconds: float = Field(ge=0)
    counts: dict[str, int | float] = Field(default_factory=dict)


class RunFolder:
    """Paths inside a run folder, and which stages are finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.json"
        """The resolved recipe with its digest and the versions of the libraries."""
        self.judge = path / "judge.json"
        """`JudgeCard` of the judge."""
        self.certificate = path / "judge_certificate.json"
        """`JudgeCertificate` that was found with the judge; of another judge where its digest says so."""
        self.calibration = path / "calibration.json"
        """`CalibrationMap` that the run began with, where its rewards take one."""
        self.prompts = path / "prompts.jsonl"
        self.candidates = path / "candidates.jsonl"
        self.judgments = path / "judgments.jsonl"
        """`Judgment`s that rate one candidate."""
        self.comparisons = path / "comparisons.jsonl"
        """`Comparison`s, each with the judgments of its orders."""
        self.rewards = path / "rewards.jsonl"
        """`Reward | Unscored`, one for each candidate."""
        self.selected = path / "selected.jsonl"
        self.pairs = path / "pairs.jsonl"
        self.manifest = path / "manifest.json"
        """`Manifest`: how many were kept, and dropped for which reason."""
        self.review = path / "review.jsonl"
        """What a person should look at."""
        self.best_of_n = path / "best_of_n.json"
        """`BestOfNCurve`."""
        self.rounds = path / "rounds.jsonl"
        """`RoundRecord`s of a recipe with several rounds, whose folders are in rounds/."""
        self.guard = path / "guard.jsonl"
        """`GuardPoint`s, one a look at a policy."""
        self.policy = path / "policy"
        """The trained policy (or its adapter)."""
        self.examples = path / "examples.jsonl"
        """`JudgeExample`s that a judge is trained on."""
        self.held_out_examples = path / "held_out.jsonl"
        """`JudgeExample`s that it is measured on."""
        self.trained_judge = path / "trained_judge"
        """The trained judge (or its adapter) with its protocol."""
        self.evaluation_prompts = path / "evaluation" / "prompts.jsonl"
        """Held-out prompts."""
        self.evaluation_candidates = path / "evaluation" / "candidates.jsonl"
        self.evaluation_comparisons = path / "evaluation" / "comparisons.jsonl"
        self.evaluation = path / "evaluation.json"
        """`Evaluation` of the trained policy against the start policy."""
        self.cache = path / "judgments.sqlite"
        self.metrics = path / "metrics.jsonl"
        self.stages = path / "stages.jsonl"
        self.report = path / "report.html"

    def finished(self) -> dict[str, StageRecord]:
        """The finished stages by name, in the order in which they finished."""
        if not self.stages.exists():
            return {}
        return {record.stage: record for record in read_records(self.stages, StageRecord)}

    def finish(self, record: StageRecord) -> None:
        """Note that a stage is complete."""
        with AppendLog(self.stages) as log:
            log.write(record)
