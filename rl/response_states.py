"""Hidden states at a response's tokens only, with the tokens that all prompts begin with computed once for a batch.

Design decision. What is learned from stands at the response; the prompt before it is most of a batch, and the chat
template with its system prompt is most of a short prompt. So a trunk learns a new argument, `response`: the output
layer is then asked about those positions alone, and the common beginning is one row of the batch instead of a part of
every row. Beginning and rests go through the layers as one sequence; attention alone takes them apart, and lets every
rest see the beginning and itself. The numbers are those of a plain forward (and its gradients), up to rounding. The
beginning is that of all prompts of a run and not of a batch, so that a row does not depend on the rows beside it.

Only attention may look at other tokens, over all that is before it, and through the kernels of torch (SDPA). A trunk
with sliding windows, states or positions that depend on the length computes all of every row. So does one with
activation checkpointing, which computes attention again when nobody says any more how.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

KERNEL = "autoj_common_beginning"
Given = dict[str, Any]


def give_response_states(trunk: nn.Module, beginning: Sequence[int] = ()) -> None:
    """Teach a transformers trunk the argument `response`; without it, its forward is what it was.

    `trunk(input_ids=…, attention_mask=…, response=T)` gives last_hidden_state (B, T, width): the states from which
    each of the last T tokens is predicted. Rows are (B, L), padded on the left and on the right.
    beginning: tokens that rows begin with; a batch in which some do not is computed as a whole.
    """
    inner = trunk.forward
    common = torch.tensor(beginning if _can_share(trunk) else (), dtype=torch.long)

    @functools.wraps(type(trunk).forward)
    def forward(self: nn.Module, *args: Any, response: int | None = None, **given: Any) -> Any:
        if response is None:
            return inner(*args, **given)
        rests = None if given.get("output_router_logits") else _rests(common, given)
        if rests is None:
            output = inner(*args, **given)
            states = output.last_hidden_state
        else:
            with _sharing(self.config):
                output = inner(*args, **(given | _one_sequence(common, *rests)))
            states = output.last_hidden_state[0, len(common) :].view(*rests[0].shape, -1)
        output.last_hidden_state = states[:, -response - 1 : -1]
        return output

    trunk.forward = types.MethodType(forward, trunk)


def _can_share(trunk: Any) -> bool:
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    config = trunk.config
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    return (
        config.get_text_config() is config
        and config._attn_implementation == "sdpa"
        and trunk._supports_attention_backend
        and rope in ("default", "linear", "llama3", "yarn")
        and "position_ids" in inspect.signature(type(trunk).forward).parameters
        and all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)
    )


def _rests(common: torch.Tensor, given: Given) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Rows after the common tokens and which of their places are theirs, both (B, L - tokens); None if some differ."""
    ids, mask = given["input_ids"], given["attention_mask"].bool()
    count = len(common)
    if not count or len(ids) == 1:
        return None
    starts = mask.int().argmax(dim=1, keepdim=True)
    places = torch.arange(ids.size(1), device=ids.device)
    if not (ids.gather(1, starts + places[:count]) == common.to(ids.device)).all():
        return None
    return ids[:, count:], (mask & (places >= starts + count))[:, count:]


def _one_sequence(common: torch.Tensor, ids: torch.Tensor, own: torch.Tensor) -> Given:
    """The common tokens and all rests in one row, with the positions that they have in rows of their own.

    attention_mask: bool (B, 1, R, tokens + R), which place of the beginning and of its rest each place sees.
    """
    rows, length = ids.shape
    common = common.to(ids.device)
    positions = len(common) - 1 + own.long().cumsum(dim=1)
    before = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
    seen = torch.cat([own.new_ones(rows, length, len(common)), before & own[:, None]], dim=2)
    return {
        "input_ids": torch.cat([common, ids.flatten()])[None],
        "position_ids": torch.cat([torch.arange(len(common), device=ids.device), positions.flatten()])[None],
        "attention_mask": seen[:, None],
    }


def _attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: torch.Tensor, **given: Any
) -> tuple[torch.Tensor, None]:
    """SDPA of the beginning by itself, and of each rest with the beginning before it; (1, N, heads, width)."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    rows, _, length, whole = seen.shape
    count = whole - length
    first = [each[:, :, :count] for each in (query, key, value)]
    rests = [_by_row(each[0, :, count:], rows) for each in (query, key, value)]
    keys, values = (
        torch.cat([start.expand(rows, -1, -1, -1), rest], dim=2)
        for start, rest in zip(first[1:], rests[1:], strict=True)
    )
    given.pop("is_causal", None)
    one, _ = sdpa_attention_forward(module, *first, None, is_causal=True, **given)
    all_rests, _ = sdpa_attention_forward(module, rests[0], keys, values, seen, is_causal=False, **given)
    return torch.cat([one[0], all_rests.flatten(0, 1)])[None], None


def _by_row(states: torch.Tensor, rows: int) -> torch.Tensor:
    """(heads, B R, width) to (B, heads, R, width)."""
    heads, tokens, width = states.shape
    return states.reshape(heads, rows, tokens // rows, width).transpose(0, 1)


@contextmanager
def _sharing(config: Any) -> Iterator[None]:
    """Inside, a model of this configuration attends as `_attention` does."""
    from transformers import AttentionInterface

    AttentionInterface.register(KERNEL, _attention)
    before = config._attn_implementation
    config._attn_implementation = KERNEL
    try:
        yield
    finally:
        config._attn_implementation = before
