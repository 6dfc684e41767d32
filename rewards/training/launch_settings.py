"""What a user says of training on several processes. Imports no torch: recipes and `--help` read it.

The number of processes is part of a recipe, since it changes the batch of an optimizer step, and because a launcher
may silently start one process where two were meant: what was asked for can then be checked against what came.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from rewards.judges.config import Settings

Strategy = Literal["ddp", "zero2", "zero3", "fsdp2"]


class LaunchSettings(Settings):
    """How many processes train together, and how they share the model; `autoj run --nproc` starts them."""

    processes: int = Field(default=1, ge=1)
    """Number of processes, on all machines together, that the job must have been launched with; another is refused."""
    strategy: Strategy = "ddp"
    """ddp: each has all; zero2 and zero3: DeepSpeed shards optimizer and gradients, zero3 weights too; fsdp2: GPUs."""
    config: Path | None = None
    """A DeepSpeed configuration (JSON) in place of the shipped one of the strategy."""
