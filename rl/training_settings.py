"""What a user says of training a policy, beside what every training job has. Imports no torch and no trl."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from rewards.judges.config import Settings
from rewards.training.settings import LoraSettings, TrainingSettings

__all__ = [
    "CriticSettings",
    "DPOLoss",
    "DPOSettings",
    "GRPOSettings",
    "GroupSettings",
    "KLSettings",
    "KTOSettings",
    "LoraSettings",
    "OnPolicySettings",
    "PPOSettings",
    "RLOOSettings",
    "SFTSettings",
    "TrainingSettings",
]

DPOLoss = Literal[
    "sigmoid", "hinge", "ipo", "robust", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down", "sigmoid_norm"
]


class DPOSettings(TrainingSettings):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290)."""

    beta: float = Field(default=0.1, gt=0)
    """Strength of the tie to the reference policy."""
    loss_type: DPOLoss = "sigmoid"
    """TRL's name of the loss; sigmoid is DPO's own."""


class SFTSettings(TrainingSettings):
    """Supervised fine-tuning on selected responses; the loss is on the response only."""

    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak of the schedule."""


class KTOSettings(TrainingSettings):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv 2402.01306) on responses by their rewards."""

    beta: float = Field(default=0.1, gt=0)
    """Strength of the tie to the reference policy."""
    loss_type: Literal["kto", "apo_zero_unpaired"] = "kto"
    """TRL's name of the loss."""
    desirable_from: float | None = Field(default=None, allow_inf_nan=False)
    """Least reward of a desirable response; null: above undesirable_to, or above the median of all rewards."""
    undesirable_to: float | None = Field(default=None, allow_inf_nan=False)
    """Highest reward of an undesirable response; null: below desirable_from, or below the median of all rewards."""
    batch_size: int = Field(default=4, ge=2)
    """Examples in one forward pass on one device; KTO estimates the KL term from the others of the batch."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        start, end = self.desirable_from, self.undesirable_to
        if start is not None and end is not None and end >= start:
            raise ValueError(f"expected undesirable_to below desirable_from, got {end} and {start}")
        return self


class KLSettings(Settings):
    """The price on leaving the reference policy, charged at every token."""

    coefficient: float = Field(default=0.05, ge=0)
    """Reward taken for each nat; the start value, with a target."""
    estimator: Literal["k1", "k2", "k3"] = "k1"
    """k1: unbiased, may be negative; k2: half the squared log-ratio; k3: unbiased and never negative."""
    target: float | None = Field(default=None, gt=0)
    """Nats a response that the coefficient is steered to; null keeps the coefficient."""
    horizon: int = Field(default=10_000, ge=1)
    """Responses in which the coefficient may change by a fifth, with a target."""

    @model_validator(mode="after")
    def _can_be_steered(self) -> Self:
        if self.target is not None and self.coefficient == 0:
            raise ValueError("expected a coefficient above 0 with a target: it is multiplied, and 0 stays 0")
        return self


class CriticSettings(Settings):
    """The model that predicts the return at each token."""

    kind: Literal["own", "shared"] = "own"
    """own: a model of its own; shared: one more output of the policy, nearly free and learned with it."""
    model: str | None = None
    """What the own model starts from; null: what the policy starts from."""
    start: Path | None = None
    """Folder of a critic that an earlier run of the same kind has saved (`critic/`), to start with."""
    tuning: Literal["lora", "full"] = "lora"
    """Train an adapter of the own model, or all of it."""
    lora: LoraSettings = LoraSettings()
    """The own model's adapter."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """Peak of its schedule, which has the shape of the policy's."""
    warmup_steps: int = Field(default=10, ge=0)
    """Optimizer steps in which only the critic learns, since a judge leaves no reward model to start it from."""

    @model_validator(mode="after")
    def _shared_has_no_model(self) -> Self:
        if self.kind == "shared" and self.model is not None:
            raise ValueError("expected no critic.model with a shared critic, which has the policy's")
        return self


class OnPolicySettings(TrainingSettings):
    """What the trainings share that sample from the policy while it learns."""

    learning_rate: float = Field(default=3e-6, gt=0)
    """Peak of the policy's schedule."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Token limit of a response."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the draw; log-probabilities are those of the tempered policy."""
    responses_per_prompt: int = Field(default=1, ge=1)
    """Responses to each prompt of a batch; more for rewards that compare the responses of a prompt."""
    minibatches: int = Field(default=1, ge=1)
    """Optimizer steps that share one batch of responses (gradient_accumulation forward passes each)."""
    passes: int = Field(default=1, ge=1)
    """Times that a batch of responses is gone through."""
    clip: float = Field(default=0.2, gt=0, lt=1)
    """Half the width of the probability ratio's free range."""
    prompt_order: Literal["balanced", "shuffled", "short_first"] = "balanced"
    """balanced: scenarios by turns; shuffled: by chance; short_first: a curriculum from short to long prompts."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.eval_fraction:
            raise ValueError(
                "expected eval_fraction 0: on-policy training measures its rewards while it trains, and holds out "
                "nothing"
            )
        if self.max_new_tokens >= self.max_length:
            raise ValueError(
                f"expected max_new_tokens below max_length, which is for prompt and response together, got "
                f"{self.max_new_tokens} and {self.max_length}"
            )
        return self


class PPOSettings(OnPolicySettings):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) on a judge's rewards."""

    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount a token."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation."""
    value_clip: float | None = Field(default=0.2, gt=0)
    """Most that a value may move from the batch's start before its gain no longer counts; null: any."""
    value_coefficient: float = Field(default=0.5, gt=0)
    """Weight of the critic's loss."""
    whiten: bool = True
    """Advantages with mean 0 and variance 1 over the tokens of a batch."""
    kl: KLSettings = KLSettings()
    """The tie to the reference policy."""
    critic: CriticSettings = CriticSettings()
    """The critic."""
    reward_scale: Literal["running", "none"] = "running"
    """running: rewards less their mean so far, over their standard deviation so far."""
    reward_clip: float | None = Field(default=5.0, gt=0)
    """Absolute bound, after scaling."""
    missing_eos_penalty: float = Field(default=1.0, ge=0)
    """Reward taken, after scaling, from a response that was cut off."""


class GroupSettings(OnPolicySettings):
    """What the trainings share that compare a response with the others to its prompt, and need no critic."""

    responses_per_prompt: int = Field(default=8, ge=2)
    """Responses to each prompt of a batch: the group."""


class GRPOSettings(GroupSettings):
    """Group relative policy optimisation (Shao et al. 2024, arXiv 2402.03300) on a judge's rewards."""

    beta: float = Field(default=0.02, gt=0)
    """Weight of the KL divergence from the reference (k3) in the loss; next to 0 it is only measured."""
    loss_type: Literal["dapo", "grpo", "dr_grpo"] = "dapo"
    """dapo: every token of a batch weighs the same; grpo: every response; dr_grpo: tokens over a fixed length."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Divide advantages by the standard deviation of the rewards of the group, of the batch, or not."""


class RLOOSettings(GroupSettings):
    """REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv 2402.14740) on a judge's rewards."""

    beta: float = Field(default=0.05, gt=0)
    """Reward taken for each nat of a response's log-ratio to the reference; next to 0 it is only measured."""
    normalize_advantages: bool = False
    """Advantages with mean 0 and variance 1 over a batch."""
