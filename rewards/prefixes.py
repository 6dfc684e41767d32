"""What several sequences of tokens begin with alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def common_length(sequences: Collection[Sequence[int]]) -> int:
    """How many tokens all sequences share at their beginning; 0 of none."""
    length = 0
    for column in zip(*sequences, strict=False):
        if column.count(column[0]) < len(column):
            break
        length += 1
    return length
