"""A batch of token contexts in the model's key-value cache, and the logits after them.

What all contexts of a batch begin with (the instructions, and the query when candidates of one prompt are judged
together) is computed once and repeated in the cache; only the rest is computed for each. Then any path of tokens can
be tried after the contexts, one short forward each, by cropping the cache back. Models whose cache is not a plain one
(sliding windows, recurrent states) are computed in full each time: slower and equally exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from rewards.errors import RunError
from rewards.judges.local_model import LocalModel

_WORTH_SHARING = 16


class BatchContext:
    """Logits after each of a batch of contexts and a path of tokens; call it with the path."""

    def __init__(self, local: LocalModel, contexts: Sequence[list[int]]) -> None:
        self._local = local
        self._contexts = contexts
        cache = plain_cache(local)
        self._plain = cache is not None
        if cache is not None:
            self._cache = cache
            self._fill()

    def __call__(self, path: tuple[int, ...]) -> torch.Tensor:
        """Logits (batch, vocabulary) of the token after the contexts and `path`."""
        if not self._plain:
            return self._whole(path)
        if not path:
            return self._first
        rows = self._tensor([list(path)] * len(self._contexts))
        mask = torch.cat([self._mask, torch.ones_like(rows)], dim=1)
        positions = self._lengths[:, None] + torch.arange(len(path), device=rows.device)
        logits = self._forward(rows, mask, positions)
        self._cache.crop(-len(path))
        return logits

    def _fill(self) -> None:
        """Put the contexts into the cache: the shared beginning once, the rest left-padded after it."""
        shared = share_beginning(self._local, self._contexts, self._cache)
        rows, mask = left_padded([context[shared:] for context in self._contexts], self._local.pad_id)
        rows, mask = rows.to(self._local.device), mask.to(self._local.device)
        self._lengths = mask.sum(-1) + shared
        positions = _positions(mask) + shared
        self._mask = torch.cat([mask.new_ones((len(rows), shared)), mask], dim=1)
        self._first = self._forward(rows, self._mask, positions)

    def _forward(self, rows: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        output = self._local.model(
            input_ids=rows,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _whole(self, path: tuple[int, ...]) -> torch.Tensor:
        rows, mask = left_padded([[*context, *path] for context in self._contexts], self._local.pad_id)
        output = self._local.model(
            input_ids=rows.to(self._local.device),
            attention_mask=mask.to(self._local.device),
            position_ids=_positions(mask).to(self._local.device),
            use_cache=False,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _tensor(self, rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self._local.device)


def plain_cache(local: LocalModel) -> DynamicCache | None:
    """An empty cache that can be repeated and cropped; None for a model that keeps something else."""
    cache = DynamicCache(config=local.model.config)
    return cache if all(type(layer) is DynamicLayer for layer in cache.layers) else None


def share_beginning(local: LocalModel, contexts: Sequence[list[int]], cache: DynamicCache) -> int:
    """Put the tokens that all contexts begin with into an empty cache, for each of them; returns how many.

    They are computed once. 0, and the cache stays empty, where that saves next to nothing.
    """
    shared = worth_sharing(contexts)
    if shared:
        prefix = torch.tensor([contexts[0][:shared]], dtype=torch.long, device=local.device)
        local.model(input_ids=prefix, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(contexts))
    return shared


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Position of every token among the tokens that are no padding."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def left_padded(rows: Sequence[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, both (batch, longest), padded on the left."""
    width = max(len(row) for row in rows)
    ids = [[pad] * (width - len(row)) + row for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, dtype=torch.long), torch.tensor(mask, dtype=torch.long)


def shared_length(contexts: Sequence[list[int]]) -> int:
    """Tokens that all contexts begin with, leaving at least one for each of them."""
    low, high = min(contexts), max(contexts)  # in lexicographic order, what the extremes share all share
    limit = min(len(context) for context in contexts) - 1
    length = 0
    while length < limit and low[length] == high[length]:
        length += 1
    return length


def worth_sharing(contexts: Sequence[list[int]]) -> int:
    """How many tokens of the beginning to compute once: 0 for a single context, or where too few are shared."""
    shared = shared_length(contexts) if len(contexts) > 1 else 0
    return shared if shared >= _WORTH_SHARING else 0


def batches(contexts: Sequence[list[int]], size: int) -> Iterator[list[int]]:
    """Positions in batches of at most `size`, in the cheaper of two orders.

    By length there is little padding; by content, contexts with the same beginning meet and share it. The one that
    computes fewer tokens is taken.
    """
    everything = range(len(contexts))
    orders = (
        sorted(everything, key=lambda position: len(contexts[position])),
        sorted(everything, key=lambda position: contexts[position]),
    )
    plans = [[order[start : start + size] for start in range(0, len(order), size)] for order in orders]
    yield from min(plans, key=lambda plan: sum(_computed([contexts[position] for position in part]) for part in plan))


def _computed(contexts: Sequence[list[int]]) -> int:
    shared = worth_sharing(contexts)
    return shared + len(contexts) * (max(len(context) for context in contexts) - shared)


@contextmanager
def memory_errors(batch_size: int) -> Iterator[None]:
    """What torch raises when memory runs out, said as an error of the run."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in text:
            raise
        smaller = max(1, math.ceil(batch_size / 2))
        raise RunError(
            f"memory ran out with batch_size {batch_size}: {text.splitlines()[0]}. Try batch_size {smaller}, a lower "
            "max_prompt_tokens or max_new_tokens, or a smaller model; what is finished is kept"
        ) from error
