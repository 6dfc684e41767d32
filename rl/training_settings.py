"""What a user says of training a policy, beside what every training job has. Imports no torch and no trl."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rewards.training.settings import LoraSettings, TrainingSettings

__all__ = ["DPOLoss", "DPOSettings", "KTOSettings", "LoraSettings", "SFTSettings", "TrainingSettings"]

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
