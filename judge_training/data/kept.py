"""What a step of the way keeps, and what it drops."""

from __future__ import annotations

from dataclasses import dataclass, field

from judge_training.examples import JudgeExample


@dataclass(frozen=True, slots=True)
class Kept:
    """The examples that a step keeps, in their order, and how many it dropped by reason."""

    examples: tuple[JudgeExample, ...]
    dropped: dict[str, int] = field(default_factory=dict)
