"""The typed recipes: one class a kind, its sections shared.

A kind lists the sections that its job uses and no other, so an unused key is an error and not a silence.
The class defaults are the vetted setting. Imports no torch: `autoj check` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from judge_training.collection.settings import HumanLabels, PriceSettings, TeacherSettings
from judge_training.training_settings import JudgeTrainingSettings
from rewards.columns import ColumnMap
from rewards.judges.config import DEFAULT_MODEL, Attention, Dtype, JudgeSettings, RaySettings, Settings
from rewards.ratings import LengthTerm
from rewards.select_settings import PairSettings, SelectSettings
from rewards.training.launch_settings import LaunchSettings
from rl.format_reward import FormatTerm
from rl.training_settings import DPOSettings, GRPOSettings, KTOSettings, PPOSettings, RLOOSettings, SFTSettings


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
    rescale: tuple[float, float] | None = None
    """Bounds of the judge's scale that become 0 and 1; null leaves ratings as they are."""
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


class EvaluationSettings(Settings):
    """The trained policy against the start policy, on prompts that were not trained on."""

    prompts: int = Field(default=32, ge=1)
    """Prompts held out from the same source."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Token limit of a response."""
    temperature: float = Field(default=0.0, ge=0.0)
    """0 is greedy."""


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
    """File of responses with their prompts, one or (preference data) two a row; `bundled` is a small one of ours."""
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


class OnlineRewardSettings(Settings):
    """How the judge's word becomes the reward of a response, while the policy trains."""

    compare: Literal["circular", "anchor", "all"] | None = None
    """Strengths from comparisons of the responses to one prompt, in both orders; null: ratings."""
    rescale: tuple[float, float] | None = None
    """Bounds of the judge's scale that become 0 and 1; null leaves ratings as they are."""
    length: LengthTerm | None = None
    """A price on length."""
    format: FormatTerm | None = None
    """A reward for a form."""

    @model_validator(mode="after")
    def _ratings_have_units(self) -> Self:
        if self.compare is not None and (self.rescale is not None or self.length is not None):
            raise ValueError("expected rescale and length only without compare, since they are in rating points")
        return self


class OnPolicyRecipe(BaseRecipe):
    """What every recipe has that trains a policy while the judge rates what it writes."""

    prompts: PromptSettings = PromptSettings()
    """Which prompts."""
    policy: PolicySettings = PolicySettings()
    """Which model is trained."""
    reward: OnlineRewardSettings = OnlineRewardSettings()
    """How judgments become rewards."""
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
