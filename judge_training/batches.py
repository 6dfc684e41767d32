"""The order of a data set whose batches are made on purpose: of similar length, or of one prompt.

A trainer then takes the rows as they lie (`train_sampling_strategy: sequential`), the same way every epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np


class Sized(Protocol):
    """A row of the data set."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def length(self) -> int:
        """Its tokens."""


SizedRow = TypeVar("SizedRow", bound=Sized)


def batched_by_length(rows: Sequence[SizedRow], size: int, seed: int) -> list[SizedRow]:
    """The rows in an order whose batches of `size` hold rows of similar length and come in random order.

    transformers' own grouping goes from long to short again and again, so that the last steps see the shortest.
    """
    ordered = sorted(rows, key=lambda one: (one.length, one.id))
    batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    # A batch that is not full comes last: before others it would shift theirs.
    full = len(ordered) // size
    order = [*np.random.default_rng(seed).permutation(full), *range(full, len(batches))]
    return [row for place in order for row in batches[place]]


def batched_by_prompt(
    rows: Sequence[SizedRow], prompts: Sequence[str], size: int, seed: int, *, by_length: bool = False
) -> list[SizedRow]:
    """The rows in an order whose batches of `size` hold rows of one prompt, in random order.

    prompts: that of each row. by_length: those of a batch are of similar length too. What is left of the prompts comes
    last, one prompt after the other.
    """
    generator = np.random.default_rng(seed)
    members: dict[str, list[SizedRow]] = {}
    for place in generator.permutation(len(rows)):
        members.setdefault(prompts[place], []).append(rows[place])
    if by_length:
        members = {prompt: sorted(several, key=lambda one: one.length) for prompt, several in members.items()}
    whole = [
        several[start : start + size]
        for several in members.values()
        for start in range(0, len(several) - size + 1, size)
    ]
    left = [several[len(several) // size * size :] for several in members.values()]
    order = [*(whole[place] for place in generator.permutation(len(whole))), *left]
    return [row for several in order for row in several]
