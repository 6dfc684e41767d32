"""The account of a collection: what came in, what became an example, what was dropped for which reason.

The sums are part of the type: an account that does not add up cannot be made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Self

from pydantic import Field, NonNegativeInt, model_validator

from judge_training.collection.spending import Usage
from judge_training.collection.steps import Dropped
from judge_training.examples import ExampleKind, JudgeExample
from rewards.types import Record


class KindCount(Record):
    """Examples of one kind; input = kept + dropped + unfinished."""

    input: NonNegativeInt
    kept: NonNegativeInt
    dropped: dict[str, NonNegativeInt] = Field(default_factory=dict)
    """By reason."""
    unfinished: NonNegativeInt = 0
    """Not decided when the job stopped."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.input != self.kept + sum(self.dropped.values()) + self.unfinished:
            raise ValueError(
                f"expected input = kept + dropped + unfinished, got {self.input} != {self.kept} + "
                f"{sum(self.dropped.values())} + {self.unfinished}"
            )
        return self


class CollectionManifest(Record):
    """What a collection came to."""

    teacher: str
    kinds: dict[ExampleKind, KindCount]
    verdicts: dict[str, NonNegativeInt]
    """Kept examples by their label, or by their rating."""
    unknown_scenario: NonNegativeInt
    """Examples, of those that came in, whose scenario is none of the catalog's: guided by the basic criteria alone."""
    skipped: dict[str, NonNegativeInt] = Field(default_factory=dict)
    """Rows of the input that were no examples to judge, by reason."""
    usage: Usage
    stopped: str = ""
    """Which limit ended the job early; "" when all of it is done."""

    @model_validator(mode="after")
    def _every_kept_has_a_verdict(self) -> Self:
        kept = sum(count.kept for count in self.kinds.values())
        if sum(self.verdicts.values()) != kept:
            raise ValueError(f"expected a verdict for each of {kept} kept, got {sum(self.verdicts.values())}")
        return self


def count_kinds(
    came: Iterable[JudgeExample], kept: Iterable[JudgeExample], dropped: Iterable[Dropped]
) -> dict[ExampleKind, KindCount]:
    """The counts of each kind that came in."""
    inputs = Counter(example.kind for example in came)
    stayed = Counter(example.kind for example in kept)
    reasons = Counter((one.kind, one.reason) for one in dropped)
    counts: dict[ExampleKind, KindCount] = {}
    for kind, number in inputs.items():
        mine = {reason: count for (of, reason), count in reasons.most_common() if of == kind}
        left = number - stayed[kind] - sum(mine.values())
        counts[kind] = KindCount(input=number, kept=stayed[kind], dropped=dict(mine), unfinished=left)
    return counts


def count_verdicts(kept: Iterable[JudgeExample]) -> dict[str, int]:
    """Kept examples by label, or by rating, the commonest first."""
    return dict(Counter(_verdict(example) for example in kept).most_common())


def _verdict(example: JudgeExample) -> str:
    return f"{example.rating:g}" if example.rating is not None else str(example.label)
