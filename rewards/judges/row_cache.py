"""The key-value cache of texts that are read or written together, of which each may end or begin at its own time.

Design decision. All rows end at the same column, so that one forward gives each a token: a shorter one begins later,
and what is before it is masked. The columns that some row needs are a window into buffers that have room for more, so
a token is written in place, the mask is kept and not made again, and leaving out the columns of a long row that ended
costs nothing. A row that ended gives its place to the last one, which is copied; so nobody computes for it any more.

What contexts begin with alike is computed once. Their rests are computed by length, in several forwards where padding
would cost more than a forward does. This is for models with a plain cache (no sliding windows, no recurrent states).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from rewards.judges.local_model import LocalModel
from rewards.prefixes import common_length

_WORTH_SHARING = 16
_WORTH_A_FORWARD = 128
"""Tokens of padding taken to cost what one more forward does: a guess, not measured."""
_BLOCK = 64
"""Columns by which the buffers grow."""


class _Window:
    """Which rows and columns of the buffers hold something; common to all layers."""

    def __init__(self) -> None:
        self.rows = self.start = self.end = self.room = 0


class _WindowLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, each (slots, heads, room, width of a head)."""

    def __init__(self, window: _Window) -> None:
        super().__init__()
        self.window = window

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns after the window (it is moved when all layers have them); give all columns."""
        at, end = self.window, self.window.end + key_states.shape[-2]
        found = []
        for buffer, new in ((self.keys, key_states), (self.values, value_states)):
            buffer[: at.rows, :, at.end : end] = new
            found.append(buffer[: at.rows, :, at.start : end])
        return found[0], found[1]

    def get_seq_length(self) -> int:
        """Columns of the window."""
        return self.window.end - self.window.start

    def make(self, like: torch.Tensor, values_like: torch.Tensor, slots: int) -> None:
        """Empty buffers for keys and values like these; zeros, since what is masked must be finite too."""
        self.keys, self.values = (
            one.new_zeros((slots, one.shape[1], self.window.room, one.shape[-1])) for one in (like, values_like)
        )
        self.is_initialized = True


class RowCache:
    """Up to `slots` rows; `fill` adds some, `forward` gives each the same number of tokens, `drop` removes one."""

    def __init__(self, local: LocalModel, slots: int) -> None:
        self._local = local
        self._slots = slots
        self._window = _Window()
        self._layers = [_WindowLayer(self._window) for _ in DynamicCache(config=local.model.config).layers]
        self._cache = Cache(layers=list(self._layers))
        self._mask = torch.zeros((slots, 0), dtype=torch.bool, device=local.device)
        self._lengths = torch.zeros(slots, dtype=torch.long, device=local.device)
        # Other attentions make their own mask of the one with two dimensions.
        self._sdpa = local.model.config._attn_implementation == "sdpa"

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._window.rows

    def fill(self, contexts: Sequence[list[int]]) -> torch.Tensor:
        """Add a row for each context, after those that are there; their logits (contexts, vocabulary) in order."""
        at, first = self._window, self._window.rows
        if first + len(contexts) > self._slots:
            raise ValueError(f"expected at most {self._slots} rows, got {len(contexts)} more than {first}")
        self._widen(max(len(context) for context in contexts))
        shared = worth_sharing(contexts)
        prefix = self._prefix(contexts[0][:shared])
        found: list[torch.Tensor | None] = [None] * len(contexts)
        for part in by_length(contexts):
            logits = self._fill_part(prefix, [contexts[index] for index in part], shared, [first + i for i in part])
            for index, row in zip(part, logits, strict=True):
                found[index] = row
        at.rows += len(contexts)
        return torch.stack([row for row in found if row is not None])

    def forward(self, tokens: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """Logits (rows, vocabulary) after `tokens` (rows, count), which stay in the cache if `keep`."""
        at, count = self._window, tokens.shape[1]
        if at.end + count > at.room:
            self._move(at.end - at.start, at.end - at.start + count + _BLOCK)
        end = at.end + count
        self._mask[: at.rows, at.end : end] = True
        mask = self._mask[: at.rows, at.start : end]
        positions = self._lengths[: at.rows, None] + torch.arange(count, device=tokens.device)
        logits = _logits(
            self._local,
            input_ids=tokens,
            attention_mask=mask[:, None, None] if self._sdpa and count == 1 else mask.long(),
            position_ids=positions,
            past_key_values=self._cache,
        )
        if keep:
            at.end = end
            self._lengths[: at.rows] += count
        else:
            self._mask[: at.rows, at.end : end] = False
        return logits

    def drop(self, row: int) -> None:
        """Remove a row; the last one takes its place."""
        at, last = self._window, self._window.rows - 1
        if row != last:
            columns = slice(at.start, at.end)
            for layer in self._layers:
                for buffer in (layer.keys, layer.values):
                    buffer[row, :, columns] = buffer[last, :, columns]
            self._mask[row] = self._mask[last]
            self._lengths[row] = self._lengths[last]
        at.rows = last
        if last:
            used = self._mask[:last, at.start : at.end].any(0)
            at.start += int(used.int().argmax())
        else:
            at.start = at.end

    def _prefix(self, ids: list[int]) -> DynamicCache | None:
        if not ids:
            return None
        cache = DynamicCache(config=self._local.model.config)
        self._local.model(
            input_ids=torch.tensor([ids], device=self._local.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return cache

    def _fill_part(
        self, prefix: DynamicCache | None, contexts: Sequence[list[int]], shared: int, rows: list[int]
    ) -> torch.Tensor:
        cache = DynamicCache(config=self._local.model.config)
        if prefix is not None:
            for own, layer in zip(cache.layers, prefix.layers, strict=True):
                own.update(*(one.expand(len(rows), -1, -1, -1) for one in (layer.keys, layer.values)))
        ids, padding = left_padded([context[shared:] for context in contexts], self._local.pad_id)
        ids, padding = ids.to(self._local.device), padding.to(self._local.device)
        mask = pad(padding, (shared, 0), value=1)
        logits = _logits(
            self._local,
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0)[:, shared:],
            past_key_values=cache,
        )
        at = self._window
        columns = slice(at.end - mask.shape[1], at.end)
        for layer, new in zip(self._layers, cache.layers, strict=True):
            if not layer.is_initialized:
                layer.make(new.keys, new.values, self._slots)
            layer.keys[rows, :, columns] = new.keys
            layer.values[rows, :, columns] = new.values
        self._mask[rows] = False
        self._mask[rows, columns] = mask.bool()
        self._lengths[rows] = mask.sum(-1)
        return logits

    def _widen(self, width: int) -> None:
        """Make the window at least `width` columns, without moving what is in it where there is room before it."""
        at = self._window
        if (not at.rows and at.room < width + _BLOCK) or at.end < width:
            self._move(max(width, at.end - at.start), max(width, at.end - at.start) + _BLOCK)
        at.start = min(at.start, at.end - width) if at.rows else at.end - width

    def _move(self, end: int, room: int) -> None:
        """New buffers with `room` columns, in which the window's own columns end at `end`."""
        at = self._window
        width = at.end - at.start
        old, new = slice(at.start, at.end), slice(end - width, end)
        at.room = room
        for layer in self._layers:
            if layer.is_initialized:
                keys, values = layer.keys, layer.values
                layer.make(keys, values, self._slots)
                layer.keys[: at.rows, :, new] = keys[: at.rows, :, old]
                layer.values[: at.rows, :, new] = values[: at.rows, :, old]
        mask = self._mask.new_zeros((self._slots, room))
        mask[:, new] = self._mask[:, old]
        self._mask = mask
        at.start, at.end = end - width, end


def _logits(local: LocalModel, **given: Any) -> torch.Tensor:
    logits: torch.Tensor = local.model(**given, use_cache=True, logits_to_keep=1).logits[:, -1]
    return logits


def left_padded(rows: Sequence[list[int]], filler: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, both (batch, longest), padded on the left."""
    width = max(len(row) for row in rows)
    ids = [[filler] * (width - len(row)) + row for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, dtype=torch.long), torch.tensor(mask, dtype=torch.long)


def shared_length(contexts: Sequence[list[int]]) -> int:
    """Tokens that all contexts begin with, leaving at least one for each of them."""
    return min(common_length(contexts), min(map(len, contexts)) - 1)


def worth_sharing(contexts: Sequence[list[int]]) -> int:
    """How many tokens of the beginning to compute once: 0 for a single context, or where too few are shared."""
    shared = shared_length(contexts) if len(contexts) > 1 else 0
    return shared if shared >= _WORTH_SHARING else 0


def by_length(contexts: Sequence[list[int]]) -> list[list[int]]:
    """Positions of contexts that are computed together, by length; a new part where padding would cost more."""
    parts: list[list[int]] = []
    for index in sorted(range(len(contexts)), key=lambda position: len(contexts[position])):
        length = len(contexts[index])
        if parts and sum(length - len(contexts[other]) for other in parts[-1]) <= _WORTH_A_FORWARD:
            parts[-1].append(index)
        else:
            parts.append([index])
    return parts


def computed_tokens(contexts: Sequence[list[int]]) -> int:
    """Tokens that go through the model to fill a cache with these contexts, padding included."""
    shared = worth_sharing(contexts)
    parts = by_length(contexts)
    return shared + sum(len(part) * (len(contexts[part[-1]]) - shared) for part in parts)
