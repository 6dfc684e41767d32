"""Texts to batches for models that are read in one forward: encoded whole, never cut, padded on the right.

Text that looks like a control token is encoded as plain characters, as everywhere in autoj. Contexts of similar
length go together, so that little is padding. Knows nothing of scores or letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from rewards.judges.local_model import LocalModel
from rewards.types import Unparsed


def token_limit(local: LocalModel, max_prompt_tokens: int) -> int:
    """The longest input: the user's limit, the model's positions and the tokenizer's own limit."""
    limits = [max_prompt_tokens, int(min(local.tokenizer.model_max_length, 2**31))]
    if local.max_positions is not None:
        limits.append(local.max_positions)
    return min(limits)


def too_long(tokens: int, limit: int) -> Unparsed:
    """The outcome of a question that the judge cannot take."""
    return Unparsed(reason="prompt_too_long", detail=f"the question has {tokens} tokens, the judge can take {limit}")


def ends_with_eos(tokenizer: Any) -> bool:
    """Whether the tokenizer closes a text with its end-of-sequence token by default."""
    eos = tokenizer.eos_token_id
    return eos is not None and tokenizer.encode("a")[-1] == eos


def by_length(rows: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Positions of the rows in batches of at most `size`, the shortest first."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    yield from (order[start : start + size] for start in range(0, len(order), size))


def right_padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, both (batch, longest)."""
    width = max(len(row) for row in rows)
    ids = [[*row, *[pad] * (width - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
