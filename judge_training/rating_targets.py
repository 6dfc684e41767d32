"""Ratings as targets to train on: the tokens to read them at, and the share of each.

A rating between two of the scale (a mean of several) is both of them in proportion, so that the mean of the
distribution is the rating. Knows no trainer and imports no torch.

What a judge cannot see in a response it guesses from its length, and then takes the longer one of two that are equally
good. `length_penalty` teaches against that: a rating is lowered for every e-fold of length beyond its prompt's mean.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
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
    examples: Sequence[JudgeExample],
    encoder: ChatEncoder,
    protocol: JudgeProtocol,
    *,
    catalog: Catalog | None = None,
    length_penalty: float = 0.0,
) -> list[RatedTokens]:
    """The examples in the tokens that the judge is read at.

    length_penalty: points that a rating loses for every e-fold (2.7 times) of its response's characters over the
    geometric mean of its prompt's responses, and gains below it.

    Raises InputError for an example of two responses or without a rating on the scale, for ratings that several
    beginnings of theirs tell apart, and where two examples' ratings are not the same tokens.
    """
    choices = rating_choices(protocol)
    asking, values = protocol.single, tuple(choices.values())
    corrections = _length_corrections(examples, length_penalty)
    found: list[RatedTokens] = []
    for example, correction in zip(examples, corrections, strict=True):
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
        targets = shares(example.rating, values, correction)
        found.append(RatedTokens(example.id, example.prompt.id, tuple(tokens.context), targets, scale))
    return found


def shares(rating: float, values: Sequence[float], correction: float = 0.0) -> tuple[float, ...]:
    """How much of a rating each value of a scale (ascending) is: one of them all of it, or two neighbours.

    correction: added to the rating; the sum is cut at the scale's ends.

    Raises InputError for a rating beyond the scale's ends.
    """
    if not values[0] <= rating <= values[-1]:
        raise InputError(f"expected a rating from {values[0]:g} to {values[-1]:g}, got {rating}")
    rating = min(max(rating + correction, values[0]), values[-1])
    above = min(bisect_right(values, rating), len(values) - 1)
    part = (rating - values[above - 1]) / (values[above] - values[above - 1])
    return tuple(1 - part if place == above - 1 else part if place == above else 0.0 for place in range(len(values)))


def _length_corrections(examples: Sequence[JudgeExample], penalty: float) -> list[float]:
    lengths = [math.log(max(1, sum(map(len, example.responses)))) for example in examples]
    of_prompt: dict[str, list[float]] = defaultdict(list)
    for example, length in zip(examples, lengths, strict=True):
        of_prompt[example.prompt.id].append(length)
    means = {prompt: fmean(of_this) for prompt, of_this in of_prompt.items()}
    return [penalty * (means[example.prompt.id] - length) for example, length in zip(examples, lengths, strict=True)]


def _spine(sequences: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    shared = {one[: common_length([one, other])] for one, other in pairwise(sorted(sequences))}
    longest = max(shared, key=len, default=())
    if any(longest[: len(path)] != path for path in shared):
        raise InputError(
            "expected ratings whose tokens share one beginning (1 and 10), got a scale with several; "
            "`loss_on: rating` cannot read it in one pass: use `loss_on: verdict`"
        )
    return longest
