"""The typed recipes: one class a kind, whose sections are in `recipes.sections`.

A kind lists the sections that its job uses and no other, so an unused key is an error and not a silence.
The class defaults are the vetted setting. Imports no torch: `autoj check` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from recipes.judge_recipes import CollectRecipe, TrainJudgeRecipe
from recipes.sections import (
    ComparisonSettings,
    EvaluationSettings,
    FailureSettings,
    GuardSettings,
    OnlineRewardSettings,
    PolicySettings,
    PromptSettings,
    RewardSettings,
    RisingRounds,
    RoundSettings,
    SamplingSettings,
    StepsGuardSettings,
    TrackSettings,
)
from rewards.columns import ColumnMap
from rewards.judges.config import JudgeSettings, Settings
from rewards.select_settings import PairSettings, SelectSettings
from rewards.training.launch_settings import LaunchSettings
from rl.training_settings import (
    DPOSettings,
    GRPOSettings,
    KTOSettings,
    OnPolicySettings,
    PPOSettings,
    RLOOSettings,
    SFTSettings,
)


class BaseRecipe(Settings):
    """What every recipe has."""

    seed: int = 0
    """Seed of everything drawn."""
    output: Path = Path("runs/run")
    """The run folder."""
    judge: JudgeSettings = JudgeSettings()
    """Who judges, and how."""
    failures: FailureSettings = FailureSettings()
    """The failure budget."""
    track: TrackSettings = TrackSettings()
    """Weights & Biases."""


class SampleRecipe(Settings):
    """Draw candidates from a policy, and nothing else."""

    recipe: Literal["sample"] = "sample"
    """The kind of recipe."""
    seed: int = 0
    """Seed of everything drawn."""
    output: Path = Path("runs/sample")
    """The run folder."""
    prompts: PromptSettings = PromptSettings()
    """Which prompts."""
    policy: PolicySettings = PolicySettings()
    """Which model answers them."""
    sampling: SamplingSettings = SamplingSettings()
    """How it answers."""
    track: TrackSettings = TrackSettings()
    """Weights & Biases."""


class SamplingRecipe(BaseRecipe):
    """What every recipe has that samples from a policy."""

    prompts: PromptSettings = PromptSettings()
    """Which prompts."""
    policy: PolicySettings = PolicySettings()
    """Which model answers them."""
    sampling: SamplingSettings = SamplingSettings()
    """How it answers."""
    compare: ComparisonSettings = ComparisonSettings()
    """Which candidates are compared."""
    reward: RewardSettings = RewardSettings()
    """How judgments become rewards."""


class TrainingRecipe(SamplingRecipe):
    """What every recipe has that trains a policy on a judge's rewards."""

    judge_certificate: Path | None = None
    """The judge's certificate (`autoj certify`), a file or its folder, where it is not beside weights or adapter."""
    allow_uncertified: bool = False
    """Train although nobody measured this judge, or another judge than this one was measured."""
    launch: LaunchSettings = LaunchSettings()
    """How many processes train, and how they share the policy; the first one alone samples and judges."""


class QuickstartRecipe(TrainingRecipe):
    """The whole pipeline once: sample, judge, Best-of-N, select, pairs, DPO, evaluate."""

    recipe: Literal["quickstart"] = "quickstart"
    """The kind of recipe."""
    select: SelectSettings = SelectSettings()
    """Rejection sampling: which candidates are kept."""
    pairs: PairSettings = PairSettings()
    """Which preference pairs are made."""
    train: DPOSettings = DPOSettings()
    """DPO."""
    trl: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keys of TRL's DPOConfig."""
    evaluate: EvaluationSettings = EvaluationSettings()
    """Trained against start policy."""


class BestOfNRecipe(SamplingRecipe):
    """Sample N candidates, judge them, and measure Best-of-k for every k up to N."""

    recipe: Literal["best_of_n"] = "best_of_n"
    """The kind of recipe."""
    select: SelectSettings = SelectSettings()
    """What is written to selected.jsonl."""


class JudgeRecipe(BaseRecipe):
    """Judge candidates that exist already, and make rewards of the judgments."""

    recipe: Literal["judge"] = "judge"
    """The kind of recipe."""
    candidates: str
    """Responses with their prompts, one or (preference data) two a row, or a run that sampled; or `bundled` ones."""
    columns: ColumnMap = ColumnMap()
    """Names of its columns, where they are not the usual ones."""
    on_bad: Literal["skip", "error"] = "skip"
    """Count and leave out a row that cannot be used, or stop at it."""
    classify: str = "none"
    """Give prompts without a scenario one: `bundled` (the classifier that ships), or the folder of one of yours."""
    compare: ComparisonSettings = ComparisonSettings()
    """Which candidates are compared."""
    reward: RewardSettings = RewardSettings()
    """How judgments become rewards."""


class FilterRecipe(JudgeRecipe):
    """Judge candidates that exist already; keep the good ones and make preference pairs."""

    recipe: Literal["filter"] = "filter"  # type: ignore[assignment]
    """The kind of recipe."""
    select: SelectSettings = SelectSettings()
    """Which candidates are kept."""
    pairs: PairSettings = PairSettings()
    """Which preference pairs are made."""


class SelectRecipe(Settings):
    """Select from candidates that are scored already, by us or by anybody."""

    recipe: Literal["select"] = "select"
    """The kind of recipe."""
    scored: Path
    """A run folder, or a file with the columns prompt_id, candidate_id, text and reward."""
    seed: int = 0
    """Seed of everything drawn."""
    output: Path = Path("runs/select")
    """The run folder."""
    select: SelectSettings = SelectSettings()
    """Which candidates are kept."""
    pairs: PairSettings = PairSettings()
    """Which preference pairs are made."""
    review: Path | None = None
    """Write here what a person should look at (a run folder's judgments are needed)."""
    track: TrackSettings = TrackSettings()
    """Weights & Biases."""


class RoundsRecipe(TrainingRecipe):
    """What every recipe has that may work in rounds."""

    guard: GuardSettings | None = None
    """Rate held-out responses by a gold judge after every round, stop when gold falls, keep the best policy."""
    evaluate: EvaluationSettings = EvaluationSettings()
    """Trained against start policy."""

    @model_validator(mode="after")
    def _guards_alone(self) -> Self:
        if self.guard is not None and self.launch.processes > 1:
            raise ValueError(
                f"expected one process with a guard, got {self.launch.processes}: the others would wait for a round "
                "that the guard may leave out"
            )
        return self


class RejectionSamplingRecipe(RoundsRecipe):
    """Rejection-sampling fine-tuning: sample, judge, keep the best, fine-tune on them, evaluate."""

    recipe: Literal["rft"] = "rft"
    """The kind of recipe."""
    select: SelectSettings = SelectSettings()
    """Which candidates are trained on."""
    rounds: RisingRounds = RisingRounds()
    """One round, or several with a rising threshold."""
    train: SFTSettings = SFTSettings()
    """Supervised fine-tuning."""
    trl: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keys of TRL's SFTConfig."""

    @model_validator(mode="after")
    def _has_a_threshold(self) -> Self:
        if self.rounds.threshold_step and self.select.threshold is None:
            raise ValueError("expected select.threshold with rounds.threshold_step, since it is what rises")
        return self


class DPORecipe(RoundsRecipe):
    """Sample, judge, make preference pairs, train with DPO, evaluate."""

    recipe: Literal["dpo"] = "dpo"
    """The kind of recipe."""
    pairs: PairSettings = PairSettings()
    """Which preference pairs are made."""
    rounds: RoundSettings = RoundSettings()
    """One round, or several (iterative DPO)."""
    train: DPOSettings = DPOSettings()
    """DPO."""
    trl: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keys of TRL's DPOConfig."""


class KTORecipe(RoundsRecipe):
    """Sample, judge, train with KTO on responses above and below thresholds, evaluate."""

    recipe: Literal["kto"] = "kto"
    """The kind of recipe."""
    select: SelectSettings = SelectSettings(method="top_fraction", fraction=1.0)
    """Which candidates may be trained on; by default all that are usable."""
    rounds: RoundSettings = RoundSettings()
    """One round, or several (iterative KTO)."""
    train: KTOSettings = KTOSettings()
    """KTO."""
    trl: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keys of TRL's KTOConfig."""


class OnPolicyRecipe(BaseRecipe):
    """What every recipe has that trains a policy while the judge rates what it writes."""

    prompts: PromptSettings = PromptSettings()
    """Which prompts."""
    policy: PolicySettings = PolicySettings()
    """Which model is trained."""
    reward: OnlineRewardSettings = OnlineRewardSettings()
    """How judgments become rewards."""
    train: OnPolicySettings = OnPolicySettings()
    """The training."""
    judge_certificate: Path | None = None
    """The judge's certificate (`autoj certify`), a file or its folder, where it is not beside weights or adapter."""
    allow_uncertified: bool = False
    """Train although nobody measured this judge, or another judge than this one was measured."""
    launch: LaunchSettings = LaunchSettings()
    """How many processes train, and how they share the weights; each of them asks the judge."""
    guard: StepsGuardSettings | None = None
    """Rate held-out responses by a gold judge every so many steps, stop when gold falls, keep the best policy."""
    evaluate: EvaluationSettings = EvaluationSettings()
    """Trained against start policy."""

    @model_validator(mode="after")
    def _guards_whole_weights(self) -> Self:
        if self.guard is not None and self.launch.strategy not in ("ddp", "zero2"):
            raise ValueError(
                f"expected launch.strategy ddp or zero2 with a guard, got {self.launch.strategy}: the first process "
                "looks at the policy alone, and has only a part of its weights"
            )
        return self

    @model_validator(mode="after")
    def _has_whole_groups(self) -> Self:
        """A reward that compares the responses to a prompt needs all of them in one process."""
        reward, train = self.reward, self.train
        own, group = train.batch_size * train.gradient_accumulation * train.minibatches, train.responses_per_prompt
        compares = reward.compare is not None or (reward.length is not None and reward.length.target is None)
        if compares and own % group:
            raise ValueError(
                f"expected the responses of one process (batch_size x gradient_accumulation x minibatches) to be a "
                f"multiple of responses_per_prompt with reward.compare, or reward.length without a target, got {own} "
                f"and {group}: a group must not be split over processes"
            )
        return self


class PPORecipe(OnPolicyRecipe):
    """Train a policy with PPO while the judge rates what it writes, then evaluate."""

    recipe: Literal["ppo"] = "ppo"
    """The kind of recipe."""
    train: PPOSettings = PPOSettings()
    """PPO."""
    trl: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keys of TRL's GRPOConfig (vLLM's are among them)."""

    @model_validator(mode="after")
    def _has_groups(self) -> Self:
        length = self.reward.length
        if self.train.responses_per_prompt == 1 and self.reward.compare is not None:
            raise ValueError("expected train.responses_per_prompt of at least 2 with reward.compare")
        if self.train.responses_per_prompt == 1 and length is not None and length.target is None:
            raise ValueError(
                "expected reward.length.target with one response a prompt: the mean of a prompt's responses is then "
                "the response itself"
            )
        return self


class GRPORecipe(OnPolicyRecipe):
    """Train a policy with GRPO while the judge rates or compares what it writes, then evaluate."""

    recipe: Literal["grpo"] = "grpo"
    """The kind of recipe."""
    train: GRPOSettings = GRPOSettings()
    """GRPO."""
    trl: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keys of TRL's GRPOConfig (vLLM's are among them)."""


class RLOORecipe(OnPolicyRecipe):
    """Train a policy with RLOO while the judge rates or compares what it writes, then evaluate."""

    recipe: Literal["rloo"] = "rloo"
    """The kind of recipe."""
    train: RLOOSettings = RLOOSettings()
    """RLOO."""
    trl: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keys of TRL's RLOOConfig (vLLM's are among them)."""


RoundedRecipe = DPORecipe | KTORecipe | RejectionSamplingRecipe
"""Recipes that may work in rounds."""


Recipe = (
    QuickstartRecipe
    | SampleRecipe
    | JudgeRecipe
    | SelectRecipe
    | BestOfNRecipe
    | FilterRecipe
    | RejectionSamplingRecipe
    | DPORecipe
    | KTORecipe
    | PPORecipe
    | GRPORecipe
    | RLOORecipe
    | CollectRecipe
    | TrainJudgeRecipe
)


KINDS: dict[str, type[Recipe]] = {
    "quickstart": QuickstartRecipe,
    "sample": SampleRecipe,
    "judge": JudgeRecipe,
    "select": SelectRecipe,
    "best_of_n": BestOfNRecipe,
    "filter": FilterRecipe,
    "rft": RejectionSamplingRecipe,
    "dpo": DPORecipe,
    "kto": KTORecipe,
    "ppo": PPORecipe,
    "grpo": GRPORecipe,
    "rloo": RLOORecipe,
    "collect": CollectRecipe,
    "train_judge": TrainJudgeRecipe,
}
