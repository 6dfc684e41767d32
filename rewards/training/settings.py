"""What a user says of any training job. Imports no torch and no trl: recipes and `--help` read it.

About ten fields are ours; every other option of TRL's own config class is reached through the checked `trl:`
block (`rewards.training.arguments.check_options`). The defaults suit LoRA on an instruction-tuned model.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewards.judges.config import Settings


class LoraSettings(Settings):
    """A low-rank adapter (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = Field(default=16, ge=1)
    """Rank of the update."""
    alpha: int = Field(default=32, ge=1)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the adapter's input; TRL's DPO switches it off."""
    targets: tuple[str, ...] = Field(default=("all-linear",), min_length=1)
    """Names of the layers that get an adapter; all-linear is every linear layer except the output layer."""
    last_blocks: int | None = Field(default=None, ge=1)
    """Adapt only this many of the last transformer blocks: no gradient is computed below them; null is all of them."""


class TrainingSettings(Settings):
    """What every training job has."""

    tuning: Literal["lora", "full"] = "lora"
    """Train an adapter, or all weights."""
    lora: LoraSettings = LoraSettings()
    """The adapter, with `tuning: lora`."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """Peak of the schedule."""
    warmup: float = Field(default=0.1, ge=0)
    """Share of the steps before the peak when below 1, else their number."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the data."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; overrides epochs."""
    batch_size: int = Field(default=4, ge=1)
    """Examples in one forward pass on one device."""
    gradient_accumulation: int = Field(default=4, ge=1)
    """Forward passes behind one optimizer step."""
    max_length: int = Field(default=1024, ge=2)
    """Tokens of prompt and response together; the end of what is longer is cut off."""
    gradient_checkpointing: bool = False
    """Compute activations twice to save memory."""
    save_steps: int = Field(default=100, ge=1)
    """Optimizer steps between checkpoints; the last step always has one."""
    eval_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the prompts held out, to measure the loss before and after."""
    seed: int = 0
    """Seed of the adapter's start, the order of the data and what is held out."""
