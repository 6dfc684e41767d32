"""The sections of recipes: what is said of prompts, policy, sampling, judging, rewards and the rest, a class each.

A section belongs to no kind of recipe; the kinds share them (`recipes.schema`). What is said of a training or of a
judge is beside the code that does it. The class defaults are the vetted setting. Imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from rewards.columns import ColumnMap
from rewards.judges.config import DEFAULT_MODEL, Attention, Dtype, JudgeSettings, RaySettings, Settings
from rewards.ratings import LengthTerm
from rl.format_reward import FormatTerm


class PromptSettings(Settings):
    """Which prompts."""

    source: str = "bundled"
    """`bundled`, or a .jsonl, .json, .csv or .parquet file."""
    limit: int | None = Field(default=None, ge=1)
    """Use this many, balanced over scenarios where they are known; all without it."""
    columns: ColumnMap = ColumnMap()
    """Names of the columns, where they are not the usual ones."""
    on_bad: Literal["skip", "error"] = "skip"
    """Count and leave out a row that cannot be used, or stop at it."""
    classify: str = "none"
    """Give prompts without a scenario one: `bundled` (the classifier that ships), or the folder of one of yours."""


class PolicySettings(Settings):
    """The model that answers and is trained."""

    model: str = DEFAULT_MODEL
    """A folder, a hub id, or the embedded default model's name."""
    adapter: Path | None = None
    """Folder of a LoRA adapter to put on it."""
    dtype: Dtype = "auto"
    """auto: bfloat16 on a GPU that has it, else float32."""
    attention: Attention = "auto"
    """auto: FlashAttention 2 where it is installed and on CUDA, else SDPA."""


class SamplingSettings(Settings):
    """How candidates are drawn."""

    n: int = Field(default=4, ge=1)
    """Candidates for each prompt."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Token limit of a candidate."""
    temperature: float = Field(default=1.0, ge=0.0)
    """0 is greedy, and then all candidates of a prompt are the same."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Nucleus of the draw; 1 is the policy's own distribution."""
    top_k: int = Field(default=0, ge=0)
    """Only the k most probable tokens; 0 is all."""
    batch_size: int = Field(default=16, ge=1)
    """Candidates in one batch; does not change a candidate."""
    engine: Literal["local", "ray"] = "local"
    """Where it is drawn: in this process, or in the actors of a Ray cluster."""
    ray: RaySettings = RaySettings()
    """The cluster, with engine `ray`; a chunk is a number of prompts."""


class ComparisonSettings(Settings):
    """Which pairs of candidates the judge compares."""

    design: Literal["none", "all", "circular", "anchor", "ties"] = "none"
    """all: every pair; circular: a ring; anchor: each against the first; ties: only those rated equal."""
    both_orders: bool = True
    """Ask in both orders and abstain where they disagree."""


class RewardSettings(Settings):
    """How judgments become one number for each candidate."""

    source: Literal["ratings", "win_rate", "bradley_terry"] = "ratings"
    """From ratings, or from comparisons (which then need a design)."""
    calibration: Path | None = None
    """With ratings: a map from them to people's, as `autoj evaluate-judge calibration` fits and saves it."""
    rescale: tuple[float, float] | None = None
    """Bounds of the judge's scale (of the labels' with `calibration`) that become 0 and 1; null changes nothing."""
    centre: bool = False
    """Subtract the mean of the prompt's candidates."""
    clip: float | None = Field(default=None, gt=0)
    """Absolute bound."""
    length: LengthTerm | None = None
    """A price on length, kept as a part of its own."""
    tie_break: float | None = Field(default=None, gt=0)
    """With ratings and comparisons: order candidates that were rated equal by their comparisons, within this width."""
    soft: bool = False
    """Bradley-Terry on verdict probabilities instead of verdicts."""

    @model_validator(mode="after")
    def _calibrates_ratings(self) -> Self:
        if self.calibration is not None and self.source != "ratings":
            raise ValueError("expected calibration only with `source: ratings`, since the map is of ratings")
        if self.calibration is not None and self.tie_break is not None:
            raise ValueError("expected calibration without tie_break, which is a width in the judge's own ratings")
        return self


class EvaluationSettings(Settings):
    """The trained policy against the start policy, on prompts that were not trained on."""

    prompts: int = Field(default=32, ge=1)
    """Prompts held out from the same source."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Token limit of a response."""
    temperature: float = Field(default=0.0, ge=0.0)
    """0 is greedy."""
    batch_size: int = Field(default=16, ge=1)
    """Responses in one batch, here and in the guard's looks; does not change a response."""


class FailureSettings(Settings):
    """When failing judgments stop a run."""

    limit: float = Field(default=0.05, ge=0.0, le=1.0)
    """Share of judgments that may fail."""
    minimum: int = Field(default=20, ge=1)
    """Judgments before the share is looked at."""


def _off(value: object) -> object:
    """YAML 1.1 reads a bare `off` as false."""
    return "off" if value is False else value


class TrackSettings(Settings):
    """Weights & Biases."""

    mode: Annotated[Literal["auto", "offline", "online", "off"], BeforeValidator(_off)] = "auto"
    """auto: online with a key in WANDB_API_KEY, else offline. metrics.jsonl is written in any case."""
    project: str = "autoj"
    """W&B project."""


class RoundSettings(Settings):
    """Sampling, judging and training in several rounds."""

    count: int = Field(default=1, ge=1)
    """Rounds; each starts from the policy of the one before, which is also the reference of its loss."""
    fresh_prompts: bool = False
    """Give every round its own share of the prompts, in place of all of them."""


class GuardSettings(Settings):
    """A second opinion on held-out prompts that training does not see."""

    gold: JudgeSettings
    """Another judge, another protocol, another seed, or a rule; it is never trained on."""
    patience: int = Field(default=2, ge=1)
    """Stop when gold has been below the interval of its best value for this many looks."""


class StepsGuardSettings(GuardSettings):
    """The same within one training."""

    every: int = Field(default=50, ge=1)
    """Optimizer steps between two looks; each one saves a checkpoint."""


class RisingRounds(RoundSettings):
    """Rounds whose threshold rises."""

    threshold_step: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Raise `select.threshold` by this much after every round."""


class OnlineRewardSettings(Settings):
    """How the judge's word becomes the reward of a response, while the policy trains."""

    compare: Literal["circular", "anchor", "all"] | None = None
    """Strengths from comparisons of the responses to one prompt, in both orders; null: ratings."""
    calibration: Path | None = None
    """A map from ratings to people's, as `autoj evaluate-judge calibration` fits and saves it."""
    rescale: tuple[float, float] | None = None
    """Bounds of the judge's scale (of the labels' with `calibration`) that become 0 and 1; null changes nothing."""
    length: LengthTerm | None = None
    """A price on length."""
    format: FormatTerm | None = None
    """A reward for a form."""

    @model_validator(mode="after")
    def _ratings_have_units(self) -> Self:
        if self.compare is not None and any(one is not None for one in (self.calibration, self.rescale, self.length)):
            raise ValueError(
                "expected calibration, rescale and length only without compare, since they are in rating points"
            )
        return self


class JudgeDataSettings(Settings):
    """Which judgments a judge learns from, and which it is measured on."""

    examples: str = "bundled"
    """A file of examples that autoj wrote; `bundled` is a small one of ours."""
    held_out: Path | None = None
    """Another such file to measure on; without it a share of the prompts is held out."""
    held_out_share: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the examples that is held out, by whole prompts and in proportion to the scenarios."""
    swap: bool = False
    """Add every pair with its responses exchanged (data that `autoj` built has them already)."""


class MeasureSettings(Settings):
    """How the judge is measured before and after its training."""

    limit: int = Field(default=64, ge=0)
    """Held-out examples that are used, ratings and pairs by turns; 0 leaves measuring out."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Token limit of a written answer."""
    batch_size: int = Field(default=8, ge=1)
    """Questions in one batch."""
