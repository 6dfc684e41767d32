"""What a user says of a collection. Imports no torch: recipes and `--help` read it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from rewards.judges.config import EndpointSettings, Settings

HumanLabels = Literal["agree", "record", "none"]


class TeacherSettings(Settings):
    """The model that writes the judgments."""

    model: str = Field(min_length=1)
    """Its name on the server."""
    endpoint: EndpointSettings = EndpointSettings()
    """The server."""
    max_new_tokens: int = Field(default=1536, ge=16)
    """Token limit of one answer; an answer that is cut off there is dropped."""
    temperature: float = Field(default=0.0, ge=0.0)
    """0 is greedy."""
    tokenizer: Path | None = None
    """A tokenizer.json, or its folder, to count tokens for the estimate with; else characters / 4."""


class PriceSettings(Settings):
    """What a million tokens cost, in whatever currency."""

    price_in: float | None = Field(default=None, ge=0.0)
    """A million prompt tokens."""
    price_out: float | None = Field(default=None, ge=0.0)
    """A million tokens of answers."""
    max_calls: int | None = Field(default=None, ge=0)
    """Stop before more calls than this, counted over all starts of the job."""
    max_cost: float | None = Field(default=None, ge=0.0)
    """Stop before the calls could cost more than this, counted over all starts of the job; needs both prices."""

    @property
    def priced(self) -> bool:
        """Whether both prices are known."""
        return self.price_in is not None and self.price_out is not None
