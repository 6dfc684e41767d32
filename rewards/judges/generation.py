"""Batched generation in which every row draws from a generator of its own.

A draw is made by the Gumbel-max rule (add independent Gumbel noise to the log-probabilities and take the largest:
an exact draw from the categorical distribution; Gumbel 1954, Maddison et al. 2014, arXiv 1411.0030), with noise from
a generator seeded for that row. So the batch, its size and its order do not change what a row draws. Temperature,
top-k and top-p are transformers' own; the decoding loop is `generate` of transformers. What all contexts of a batch
begin with (the prompt that is sampled from, or the query whose responses are judged) is computed once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import GenerationConfig, LogitsProcessorList
from transformers.generation.logits_process import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from rewards.errors import RunError
from rewards.judges.batch_context import left_padded, plain_cache, share_beginning
from rewards.judges.local_model import LocalModel
from rewards.packed_weights import packed_weights


@dataclass(frozen=True, slots=True)
class Generated:
    """What one row wrote."""

    ids: tuple[int, ...]
    """The tokens drawn, with the token that ended the turn where there was one."""
    finish_reason: Literal["stop", "length"]
    logprob: float | None
    """Sum of the tokens' log-probabilities under the distribution they were drawn from, in nats; None if greedy."""


def draw_seed(*parts: str | int) -> int:
    """A seed (63 bits) from what identifies a draw; the same parts give the same seed on every machine."""
    digest = hashlib.sha256()
    for part in parts:
        data = str(part).encode("utf-8")
        digest.update(len(data).to_bytes(8, "big") + data)
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def warpers(temperature: float, top_p: float, top_k: int) -> Any:
    """transformers' processors for a temperature above 0, in the order in which it applies them."""
    chosen: list[Any] = []
    if temperature != 1.0:
        chosen.append(TemperatureLogitsWarper(float(temperature)))
    if top_k > 0:
        chosen.append(TopKLogitsWarper(top_k))
    if top_p < 1.0:
        chosen.append(TopPLogitsWarper(float(top_p)))
    return LogitsProcessorList(chosen)


class SeededDraw:
    """A logits processor that chooses the next token of every row and leaves only that one possible.

    It keeps the log-probabilities of what it chose. With `seeds` None the choice is greedy. Raises RunError when the
    model's logits are not finite.
    """

    def __init__(self, warp: Any, seeds: Sequence[int] | None, eos_ids: Sequence[int], device: torch.device) -> None:
        self._warp = warp
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds] if seeds is not None else []
        self._eos = torch.tensor(list(eos_ids), dtype=torch.long, device=device)
        self._done: torch.Tensor | None = None
        self.logprobs = torch.zeros(len(self._generators), dtype=torch.float64, device=device)
        """Sum over the tokens of each row so far, the one that ends it included."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores` (batch, vocabulary) with everything but the choice of each row at minus infinity."""
        if not torch.isfinite(scores.amax(-1)).all():
            raise RunError(
                "the model gave logits that are not finite while writing; load it with dtype float32 (or bfloat16 in "
                "place of float16), and check the checkpoint"
            )
        choice = self._draw(input_ids, scores) if self._generators else scores.argmax(-1)
        return torch.full_like(scores, -torch.inf).scatter_(1, choice[:, None], 0.0)

    def _draw(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        logprobs: torch.Tensor = self._warp(input_ids, scores).log_softmax(-1)
        done = torch.zeros(len(scores), dtype=torch.bool, device=scores.device) if self._done is None else self._done
        noise = torch.ones_like(logprobs)
        for row, (generator, over) in enumerate(zip(self._generators, done.tolist(), strict=True)):
            if not over:
                noise[row].exponential_(generator=generator)
        choice = (logprobs - noise.log()).argmax(-1)
        gained = logprobs.gather(1, choice[:, None])[:, 0].double()
        self.logprobs += torch.where(done, torch.zeros_like(gained), gained)
        self._done = done | torch.isin(choice, self._eos)
        return choice


def generate(
    local: LocalModel,
    contexts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seeds: Sequence[int] | None = None,
) -> list[Generated]:
    """Continue every context until it ends its turn or has `max_new_tokens`; one result each, in the same order.

    Greedy at temperature 0, else drawn with one seed a context (required). The caller keeps contexts and
    `max_new_tokens` within the model's positions.
    """
    if temperature > 0 and (seeds is None or len(seeds) != len(contexts)):
        raise ValueError(f"expected one seed for each of {len(contexts)} contexts, got {seeds and len(seeds)}")
    draws = temperature > 0
    eos_ids = local.eos_ids
    drawer = SeededDraw(
        warpers(temperature, top_p, top_k) if draws else None, seeds if draws else None, eos_ids, local.device
    )
    config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=local.pad_id, eos_token_id=list(eos_ids) or None
    )
    with torch.inference_mode(), packed_weights(local.model, len(contexts)):
        cache = plain_cache(local)
        shared = 0 if cache is None else share_beginning(local, contexts, cache)
        ids, mask = left_padded([context[shared:] for context in contexts], local.pad_id)
        beginning = torch.tensor([contexts[0][:shared]] * len(contexts), dtype=torch.long)
        ids, mask = torch.cat([beginning, ids], dim=1), torch.cat([torch.ones_like(beginning), mask], dim=1)
        output = local.model.generate(
            input_ids=ids.to(local.device),
            attention_mask=mask.to(local.device),
            past_key_values=cache if shared else None,
            generation_config=config,
            logits_processor=LogitsProcessorList([drawer]),
        )
    rows: list[list[int]] = output[:, ids.shape[1] :].tolist()
    sums: list[float | None] = [*drawer.logprobs.tolist()] if draws else [None] * len(rows)
    return [_cut(row, eos_ids, total) for row, total in zip(rows, sums, strict=True)]


def _cut(row: list[int], eos_ids: Sequence[int], logprob: float | None) -> Generated:
    """A row up to its first end token; what `generate` filled up after it is not the model's."""
    end = next((position for position, token in enumerate(row) if token in eos_ids), None)
    if end is None:
        return Generated(tuple(row), "length", logprob)
    return Generated(tuple(row[: end + 1]), "stop", logprob)


def decode(local: LocalModel, ids: Sequence[int]) -> str:
    """The text of generated tokens, without special tokens."""
    text: str = local.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text
