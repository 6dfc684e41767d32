"""Hidden states at a response's tokens only, with the tokens that all prompts begin with computed once for a batch.

Design decision. What is learned from stands at the response; the prompt before it is most of a batch, and the chat
template with its system prompt is most of a short prompt. So a trunk learns a new argument, `response`: the output
layer is then asked about those positions alone, and the keys and values of the common beginning are computed from one
row and shared. Both are the numbers of a plain forward (and its gradients), up to rounding. The beginning is that of
all prompts of a run and not of a batch, so that what is computed of a row does not depend on the rows beside it.

A trunk that cannot continue from cached keys and values of a single row (sliding windows, states, positions that
depend on the length, other kernels than torch's own) computes all of every row, as does a short beginning, where a
second pass through the layers would cost more than it saves.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

SAVED = 8
"""A beginning is shared where that leaves out at least one in so many positions of the batch."""
Output = Any


def give_response_states(trunk: nn.Module, beginning: Sequence[int] = ()) -> None:
    """Teach a transformers trunk the argument `response`; without it, its forward is what it was.

    `trunk(input_ids=…, attention_mask=…, response=T)` gives last_hidden_state (B, T, width): the states from which
    each of the last T tokens is predicted. Rows are (B, L), padded on the left and on the right.
    beginning: tokens that rows begin with; a batch in which some do not is computed as a whole.
    """
    inner = trunk.forward
    shared = torch.tensor(beginning) if _can_continue(trunk) else torch.empty(0, dtype=torch.long)

    @functools.wraps(type(trunk).forward)
    def forward(self: nn.Module, *args: Any, response: int | None = None, **kwargs: Any) -> Output:
        if response is None:
            return inner(*args, **kwargs)
        split = None if kwargs.get("output_router_logits") else _without(shared, kwargs)
        output = inner(*args, **kwargs) if split is None else _continued(self, inner, shared, kwargs | split)
        output.last_hidden_state = output.last_hidden_state[:, -response - 1 : -1]
        return output

    trunk.forward = types.MethodType(forward, trunk)


def _can_continue(trunk: Any) -> bool:
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    config = trunk.config
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    return (
        config.get_text_config() is config
        and config._attn_implementation in ("sdpa", "eager")
        and rope in ("default", "linear", "llama3", "yarn")
        and {"position_ids", "past_key_values"} <= inspect.signature(type(trunk).forward).parameters.keys()
        and all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)
    )


def _without(shared: torch.Tensor, given: dict[str, Any]) -> dict[str, torch.Tensor] | None:
    """Rows after the shared tokens, with their attention mask and positions; None where it is not worth it."""
    ids, mask = given["input_ids"], given["attention_mask"].bool()
    rows, length = ids.shape
    count = len(shared)
    if SAVED * count * (rows - 1) < rows * length:
        return None
    starts = mask.int().argmax(dim=1, keepdim=True)
    places = torch.arange(length, device=ids.device)
    if not (ids.gather(1, starts + places[:count]) == shared.to(ids.device)).all():
        return None
    own = mask & (places >= starts + count)
    attention = torch.cat([own.new_ones(rows, count), own[:, count:]], dim=1).long()
    positions = attention.cumsum(dim=1) - 1
    return {
        "input_ids": ids[:, count:],
        "attention_mask": attention,
        "position_ids": positions[:, count:],
    }


def _continued(trunk: Any, inner: Any, shared: torch.Tensor, given: dict[str, Any]) -> Output:
    """The rest of every row, on the keys and values of the shared tokens."""
    from transformers import DynamicCache

    cache = DynamicCache(config=trunk.config)
    ids = shared.to(given["input_ids"].device)[None]
    inner(input_ids=ids, attention_mask=torch.ones_like(ids), past_key_values=cache, use_cache=True)
    rows = len(given["input_ids"])
    for layer in cache.layers:
        layer.keys, layer.values = (each.expand(rows, -1, -1, -1) for each in (layer.keys, layer.values))
    return inner(**(given | {"past_key_values": cache, "use_cache": False}))
