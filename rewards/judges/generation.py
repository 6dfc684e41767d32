"""Batched generation in which every row draws from a generator of its own.

A draw is made by the Gumbel-max rule (add independent Gumbel noise to the log-probabilities and take the largest:
an exact draw from the categorical distribution; Gumbel 1954, Maddison et al. 2014, arXiv 1411.0030), with noise from
a generator seeded for that row. So the batch, its size and its order do not change what a row draws. Temperature,
top-k and top-p are transformers' own. Texts that have ended leave the batch and others begin in their place. What all
contexts of a batch begin with (the prompt that is sampled from, or the query whose responses are judged) is computed
once. Models that keep something else than all keys and values are left to `generate` of transformers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import GenerationConfig, LogitsProcessorList
from transformers.generation.logits_process import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from rewards.errors import RunError
from rewards.judges.batch_context import batches, has_plain_cache
from rewards.judges.local_model import LocalModel
from rewards.judges.row_cache import RowCache, left_padded
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


def draw(
    warp: Any, generators: Sequence[torch.Generator], scores: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The next token (rows) from `scores` (rows, vocabulary), with its log-probability in nats.

    One generator a row, or none: then the most probable token is taken, without a log-probability. Raises RunError
    when the model's logits are not finite.
    """
    most, choice = scores.max(-1)
    if not torch.isfinite(most).all():
        raise RunError(
            "the model gave logits that are not finite while writing; load it with dtype float32 (or bfloat16 in "
            "place of float16), and check the checkpoint"
        )
    if not generators:
        return choice, None
    logprobs: torch.Tensor = warp(None, scores).log_softmax(-1)
    noise = torch.empty_like(logprobs)
    for row, generator in enumerate(generators):
        noise[row].exponential_(generator=generator)
    choice = (logprobs - noise.log()).argmax(-1)
    return choice, logprobs.gather(1, choice[:, None])[:, 0].double()


@dataclass(slots=True)
class _Row:
    """A text that is being written."""

    index: int
    generator: torch.Generator | None
    ids: list[int] = field(default_factory=list)
    logprob: float = 0.0


class SeededDraw:
    """A logits processor of transformers that chooses as `draw` does and leaves only that token possible.

    It keeps the log-probabilities of what it chose (rows), one tensor a call; of rows that have ended, too.
    """

    def __init__(self, warp: Any, seeds: Sequence[int] | None, device: torch.device) -> None:
        self._warp = warp
        self._generators = _generators(seeds, device)
        self.logprobs: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores` (rows, vocabulary) with everything but the choice of each row at minus infinity."""
        choice, logprobs = draw(self._warp, self._generators, scores)
        if logprobs is not None:
            self.logprobs.append(logprobs)
        return torch.full_like(scores, -torch.inf).scatter_(1, choice[:, None], 0.0)


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
    `max_new_tokens` within the model's positions. All are written at once.
    """
    found = write(
        local,
        contexts,
        together=len(contexts),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seeds=seeds,
    )
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def write(
    local: LocalModel,
    contexts: Sequence[list[int]],
    *,
    together: int,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seeds: Sequence[int] | None = None,
) -> Iterator[tuple[int, Generated]]:
    """As `generate`, each result with the position of its context, as soon as it is there.

    At most `together` are written at a time. One that has ended makes room, and when half of the room is free others
    begin. A model whose cache is not a plain one (see `row_cache`) is left to transformers, batch by batch.
    """
    if temperature > 0 and (seeds is None or len(seeds) != len(contexts)):
        raise ValueError(f"expected one seed for each of {len(contexts)} contexts, got {seeds and len(seeds)}")
    draws = temperature > 0
    warp = warpers(temperature, top_p, top_k) if draws else None
    parts = list(batches(contexts, together))
    if not has_plain_cache(local):
        for part in parts:
            own = [seeds[index] for index in part] if draws and seeds is not None else None
            written = _by_transformers(local, [contexts[index] for index in part], max_new_tokens, warp, own)
            yield from zip(part, written, strict=True)
        return
    generators = _generators(seeds if draws else None, local.device)
    waiting = [_Row(index, generators[index] if draws else None) for part in parts for index in part]
    slots = min(together, len(waiting))
    with packed_weights(local.model, slots):
        writer = _Writer(local, contexts, slots, max_new_tokens, warp)
        while waiting or writer.rows:
            free = slots - len(writer.rows)
            begin, waiting = (waiting[:free], waiting[free:]) if 2 * free >= slots else ([], waiting)
            yield from writer.step(begin)


class _Writer:
    """Texts that are written together, with what each has so far."""

    def __init__(self, local: LocalModel, contexts: Sequence[list[int]], slots: int, most: int, warp: Any) -> None:
        self._local, self._contexts, self._warp, self._most = local, contexts, warp, most
        self._eos_ids = local.eos_ids
        self._cache = RowCache(local, slots)
        self.rows: list[_Row] = []

    @torch.inference_mode()
    def step(self, begin: Sequence[_Row]) -> list[tuple[int, Generated]]:
        """A token more for each, or the first one for those that begin; gives those that have ended, which leave."""
        if begin:
            self._choose(begin, self._cache.fill([self._contexts[row.index] for row in begin]))
            self.rows += begin
        else:
            last = torch.tensor([row.ids[-1:] for row in self.rows], device=self._local.device)
            self._choose(self.rows, self._cache.forward(last, keep=True))
        ended = []
        for place in reversed(range(len(self.rows))):
            found = self._ended(self.rows[place])
            if found is not None:
                ended.append((self.rows[place].index, found))
                self._cache.drop(place)
                self.rows[place] = self.rows[-1]
                self.rows.pop()
        return ended

    def _ended(self, row: _Row) -> Generated | None:
        stopped = row.ids[-1] in self._eos_ids
        if not stopped and len(row.ids) < self._most:
            return None
        logprob = None if row.generator is None else row.logprob
        return Generated(tuple(row.ids), "stop" if stopped else "length", logprob)

    def _choose(self, rows: Sequence[_Row], logits: torch.Tensor) -> None:
        generators = [row.generator for row in rows if row.generator is not None]
        choice, logprobs = draw(self._warp, generators, logits.float())
        for row, token in zip(rows, choice.tolist(), strict=True):
            row.ids.append(token)
        if logprobs is not None:
            for row, gained in zip(rows, logprobs.tolist(), strict=True):
                row.logprob += gained


def _by_transformers(
    local: LocalModel, contexts: Sequence[list[int]], max_new_tokens: int, warp: Any, seeds: Sequence[int] | None
) -> list[Generated]:
    eos_ids = local.eos_ids
    drawer = SeededDraw(warp, seeds, local.device)
    config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=local.pad_id, eos_token_id=list(eos_ids) or None
    )
    ids, mask = left_padded(contexts, local.pad_id)
    with torch.inference_mode(), packed_weights(local.model, len(contexts)):
        output = local.model.generate(
            input_ids=ids.to(local.device),
            attention_mask=mask.to(local.device),
            generation_config=config,
            logits_processor=LogitsProcessorList([drawer]),
        )
    found = []
    gained = torch.stack(drawer.logprobs, dim=1).tolist() if drawer.logprobs else None
    for place, row in enumerate(output[:, ids.shape[1] :].tolist()):
        end = next((position + 1 for position, token in enumerate(row) if token in eos_ids), None)
        logprob = None if gained is None else sum(gained[place][:end])
        found.append(Generated(tuple(row[:end]), "length" if end is None else "stop", logprob))
    return found


def _generators(seeds: Sequence[int] | None, device: torch.device) -> list[torch.Generator]:
    return [torch.Generator(device).manual_seed(seed) for seed in seeds or ()]


def decode(local: LocalModel, ids: Sequence[int]) -> str:
    """The text of generated tokens, without special tokens."""
    text: str = local.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text
