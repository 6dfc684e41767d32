"""What a user says of training a policy, beside what every training job has. Imports no torch and no trl."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewards.training.settings import LoraSettings, TrainingSettings

__all__ = ["DPOLoss", "DPOSettings", "LoraSettings", "SFTSettings", "TrainingSettings"]

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
