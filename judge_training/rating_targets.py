"""Ratings as targets to train on: the tokens to read them at, and the share of each.

A rating between two of the scale (a mean of several) is both of them in proportion, so that the mean of the
distribution is the rating. Knows no trainer and imports no torch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zlib import crc32

from judge_training.examples import JudgeExample, question_text
from judge_training.scenarios.catalog import Catalog
from rewards.errors import InputError
from rewards.judges.chat_tokens import ChatEncoder
from rewards.prefixes import common_length
from rewards.protocol.spec import JudgeProtocol
from rewards.protocol.write import rating_choices


@dataclass(frozen=True, slots=True)
class TokenScale:
    """Every rating of a scale in tokens."""

    values: tuple[float, ...]
    """Ascending."""
    sequences: tuple[tuple[int, ...], ...]
    """The tokens of each, with what closes it."""
    spine: tuple[int, ...]
    """What to put after a context so that one pass reads every place where ratings differ."""


@dataclass(frozen=True, slots=True)
class RatedTokens:
    """An example as `judge_training.rating_trainer` sees it."""

    id: str
    prompt_id: str
    context: tuple[int, ...]
    """Tokens up to where ratings differ."""
    targets: tuple[float, ...]
    """The share of each rating of the scale."""
    scale: TokenScale
    """The same for all examples."""

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.context) + len(self.scale.spine)

    def row(self) -> dict[str, Any]:
        """Columns input_ids, targets, and group, which is a number for the prompt."""
        return {
            "input_ids": [*self.context, *self.scale.spine],
            "targets": list(self.targets),
            "group": crc32(self.prompt_id.encode()),
        }


def rated_tokens(
    examples: Sequence[JudgeExample], encoder: ChatEncoder, protocol: JudgeProtocol, *, catalog: Catalog | None = None
) -> list[RatedTokens]:
    """The examples in the tokens that the judge is read at.

    Raises InputError for an example of two responses or without a rating on the scale, for ratings that several
    beginnings of theirs tell apart, and where two examples' ratings are not the same tokens.
    """
    choices = rating_choices(protocol)
    asking, values = protocol.single, tuple(choices.values())
    found: list[RatedTokens] = []
    for example in examples:
        if example.rating is None:
            raise InputError(
                f"expected a rating of one response with `loss_on: rating`, got none in example {example.id!r}; leave "
                "comparisons out, or use `loss_on: verdict`"
            )
        question = question_text(example, protocol, "direct", catalog=catalog)
        tokens = encoder.choices(question, asking.answer_start, tuple(choices), asking.answer_end)
        scale = found[0].scale if found else TokenScale(values, tokens.sequences, _spine(tokens.sequences))
        if tokens.sequences != scale.sequences:
            raise InputError(
                f"expected ratings to be the same tokens after every question, but those of example {example.id!r} "
                "differ: the tokenizer merges them with the text before; end answer_start so that it cannot"
            )
        targets = shares(example.rating, values)
        found.append(RatedTokens(example.id, example.prompt.id, tuple(tokens.context), targets, scale))
    return found


def shares(rating: float, values: Sequence[float]) -> tuple[float, ...]:
    """How much of a rating each value of a scale (ascending) is: one of them all of it, or two neighbours.

    Raises InputError for a rating beyond the scale's ends.
    """
    if not values[0] <= rating <= values[-1]:
        raise InputError(f"expected a rating from {values[0]:g} to {values[-1]:g}, got {rating}")
    above = min(bisect_right(values, rating), len(values) - 1)
    part = (rating - values[above - 1]) / (values[above] - values[above - 1])
    return tuple(1 - part if place == above - 1 else part if place == above else 0.0 for place in range(len(values)))


def _spine(sequences: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    shared = {one[: common_length([one, other])] for one, other in pairwise(sorted(sequences))}
    longest = max(shared, key=len, default=())
    if any(longest[: len(path)] != path for path in shared):
        raise InputError(
            "expected ratings whose tokens share one beginning (1 and 10), got a scale with several; "
            "`loss_on: rating` cannot read it in one pass: use `loss_on: verdict`"
        )
    return longest
