"""Whether the two sides of a pair still differ once the trainer has cut them.

A pair that is the same after cutting has the DPO loss ln 2 and no gradient (OpenRLHF issue 1311). What is cut is
what TRL 1.16's DPOTrainer cuts (`tokenize_fn` and `DataCollatorForPreference` in trl/trainer/dpo_trainer.py):
prompt and completion are tokenized as one text, the completion begins where that leaves the prompt's own tokens,
and the whole is cut to max_length at its end or at its start.

The tokenizer and the chat template come in as functions, so that this package imports no transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Literal

from rewards.prefixes import common_length
from rewards.types import Message, Pair

TruncationProblem = Literal["too_long", "same_after_truncation"]
"""No token of a completion is left, or both sides are the same tokens."""
TruncationMode = Literal["keep_start", "keep_end"]

PairCheck = Callable[[Sequence[Pair]], Sequence[TruncationProblem | None]]
"""For each pair, why it cannot be trained on, or None."""
Tokenize = Callable[[Sequence[str]], list[list[int]]]
"""Token ids of each text, with the special tokens that the trainer would add and no others."""
Render = Callable[[tuple[Message, ...], str | None], str]
"""A conversation as the trainer's text, followed by this completion as the assistant's turn; with None, up to
where the assistant's turn begins (`add_generation_prompt`)."""


def truncation_check(
    tokenize: Tokenize, render: Render, *, max_length: int | None, mode: TruncationMode = "keep_start"
) -> PairCheck:
    """A check of pairs with the trainer's tokenizer. max_length is in tokens; None cuts nothing."""

    def check(pairs: Sequence[Pair]) -> list[TruncationProblem | None]:
        texts = chain.from_iterable(
            (render(pair.messages, completion) for completion in (None, pair.chosen, pair.rejected)) for pair in pairs
        )
        ids = tokenize(list(texts))
        triples = zip(ids[0::3], ids[1::3], ids[2::3], strict=True)
        return [truncation_problem(*triple, max_length=max_length, mode=mode) for triple in triples]

    return check


def truncation_problem(
    prompt: Sequence[int],
    with_chosen: Sequence[int],
    with_rejected: Sequence[int],
    *,
    max_length: int | None,
    mode: TruncationMode = "keep_start",
) -> TruncationProblem | None:
    """The same for token ids: of the prompt alone, and of the prompt with either completion."""
    start = min(common_length([prompt, one]) for one in (with_chosen, with_rejected))
    chosen = _cut(with_chosen, start, max_length, mode)
    rejected = _cut(with_rejected, start, max_length, mode)
    if not any(counts for _, counts in chosen) or not any(counts for _, counts in rejected):
        return "too_long"
    return "same_after_truncation" if chosen == rejected else None


def _cut(ids: Sequence[int], start: int, max_length: int | None, mode: TruncationMode) -> list[tuple[int, bool]]:
    """The tokens that are left, each with whether it counts in the loss."""
    marked = [(token, place >= start) for place, token in enumerate(ids)]
    if max_length is None:
        return marked
    return marked[:max_length] if mode == "keep_start" else marked[-max_length:]
