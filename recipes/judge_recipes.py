"""The recipes that make a judge: a teacher's judgments are collected, and a language model is trained on them.

They rate no candidates for a policy, so they share sections with the other kinds and nothing else. Imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from judge_training.collection.settings import HumanLabels, PriceSettings, TeacherSettings
from judge_training.training_settings import JudgeTrainingSettings
from recipes.sections import FailureSettings, JudgeDataSettings, MeasureSettings, PolicySettings, TrackSettings
from rewards.columns import ColumnMap
from rewards.judges.config import Settings
from rewards.training.launch_settings import LaunchSettings


class CollectRecipe(PriceSettings):
    """A teacher model judges pairs and responses; its judgments become judge-training examples."""

    recipe: Literal["collect"] = "collect"
    """The kind of recipe."""
    output: Path = Path("runs/collect")
    """The run folder."""
    data: Path
    """Examples that autoj wrote (unjudged), or a .jsonl, .json, .csv or .parquet file of pairs or of responses."""
    kind: Literal["examples", "pairs", "responses"] | None = None
    """What the file holds; examples that autoj wrote are recognised."""
    columns: ColumnMap = ColumnMap()
    """Names of its columns, where they are not the usual ones."""
    source: str | None = None
    """Name of the data set in the examples; without it the file's."""
    on_bad: Literal["skip", "error"] = "skip"
    """Count and leave out a row that cannot be used, or stop at it."""
    limit: int | None = Field(default=None, ge=1)
    """Only this many, the first of the file."""
    teacher: TeacherSettings
    """Who judges."""
    criteria: Path | None = None
    """A folder of scenario files, or a copy of AUTO-J's release; without it the criteria that ship."""
    protocol: Path | None = None
    """The judge_protocol.json whose scale and labels the judgments are for; without it the built-in one."""
    human_labels: HumanLabels = "agree"
    """agree: keep a pair only where the teacher says what people said; record: note it; none: pairs have no labels."""
    both_orders: bool = True
    """Ask about a pair in both orders, and keep it only where the verdict is the same."""
    failures: FailureSettings = FailureSettings()
    """The failure budget."""
    track: TrackSettings = TrackSettings(mode="off")
    """Weights & Biases."""


class TrainJudgeRecipe(Settings):
    """Fine-tune a language model into a judge, and measure it before and after."""

    recipe: Literal["train_judge"] = "train_judge"
    """The kind of recipe."""
    seed: int = 0
    """Seed of the split."""
    output: Path = Path("runs/train_judge")
    """The run folder."""
    data: JudgeDataSettings = JudgeDataSettings()
    """Judgments to learn from."""
    base: PolicySettings = PolicySettings()
    """The model that becomes the judge."""
    protocol: Path | None = None
    """The judge_protocol.json whose words and scale it is trained in; without it the built-in one."""
    mode: Literal["critique", "direct"] = "critique"
    """Teach critiques with their verdicts (where an example has one), or verdicts alone."""
    criteria: bool = False
    """Put the scenario's criteria before the question; AUTO-J leaves them out."""
    train: JudgeTrainingSettings = JudgeTrainingSettings()
    """Supervised fine-tuning."""
    trl: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keys of TRL's SFTConfig."""
    launch: LaunchSettings = LaunchSettings()
    """How many processes train, and how they share the model."""
    measure: MeasureSettings = MeasureSettings()
    """The judge before and after."""
    failures: FailureSettings = FailureSettings()
    """The failure budget of the judge's ratings and comparisons at the end."""
    track: TrackSettings = TrackSettings()
    """Weights & Biases."""
