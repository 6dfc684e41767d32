"""What a selection kept, and how many it dropped for which reason.

The sums are part of the type: a manifest whose counts do not add up cannot be made.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal, Self

from pydantic import BaseModel, Field, JsonValue, NonNegativeInt, model_validator

from rewards.types import Record


class Count(Record):
    """Things that came in, stayed, and went for a reason; input = kept + dropped."""

    input: NonNegativeInt
    kept: NonNegativeInt
    dropped: dict[str, NonNegativeInt] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.input != self.kept + sum(self.dropped.values()):
            raise ValueError(
                f"expected input = kept + dropped, got {self.input} != {self.kept} + {sum(self.dropped.values())}"
            )
        return self


class Manifest(Record):
    """The account of one selection."""

    kind: Literal["selection", "pairs"]
    origin: str
    """Where the candidates came from."""
    settings: dict[str, JsonValue]
    settings_digest: str
    """SHA-256 of the canonical JSON of the settings."""
    rows: Count
    """Candidates. Of pairs, the kept ones are those that stand in at least one pair."""
    prompts: Count
    """Prompts with something kept; a dropped prompt counts under the reason of what came furthest."""
    pairs: Count | None = None
    """Pairs that the method proposed."""
    mean_reward: float | None = None
    """Mean over the kept prompts of the mean reward of all usable candidates: a random choice."""
    mean_reward_kept: float | None = None
    """Mean over the same prompts of the mean reward of what was kept (of pairs: of the chosen)."""


def settings_digest(settings: BaseModel) -> str:
    """SHA-256 of the canonical JSON of settings."""
    canonical = json.dumps(settings.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
