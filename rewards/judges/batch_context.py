"""A batch of token contexts in the model's key-value cache, and the logits after them.

What all contexts of a batch begin with (the instructions, and the query when candidates of one prompt are judged
together) is computed once; only the rest is computed for each. Then any path of tokens can be tried after the
contexts, one short forward each, which leaves the cache as it was. Models whose cache is not a plain one
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
from rewards.judges.row_cache import RowCache, computed_tokens, left_padded


class BatchContext:
    """Logits after each of a batch of contexts and a path of tokens; call it with the path."""

    def __init__(self, local: LocalModel, contexts: Sequence[list[int]]) -> None:
        self._local = local
        self._contexts = contexts
        self._cache = RowCache(local, len(contexts)) if has_plain_cache(local) else None
        if self._cache is not None:
            self._first = self._cache.fill(contexts)

    def __call__(self, path: tuple[int, ...]) -> torch.Tensor:
        """Logits (batch, vocabulary) of the token after the contexts and `path`."""
        if self._cache is None:
            return self._whole(path)
        if not path:
            return self._first
        rows = torch.tensor([path] * len(self._contexts), dtype=torch.long, device=self._local.device)
        return self._cache.forward(rows, keep=False)

    def _whole(self, path: tuple[int, ...]) -> torch.Tensor:
        rows, mask = left_padded([[*context, *path] for context in self._contexts], self._local.pad_id)
        output = self._local.model(
            input_ids=rows.to(self._local.device),
            attention_mask=mask.to(self._local.device),
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0).to(self._local.device),
            use_cache=False,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits


def has_plain_cache(local: LocalModel) -> bool:
    """Whether the model keeps keys and values alone, of every token."""
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=local.model.config).layers)


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
    yield from min(plans, key=lambda plan: sum(computed_tokens([contexts[one] for one in part]) for part in plan))


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
