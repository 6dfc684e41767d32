"""Whether the two sides of a pair still differ once the trainer has cut them.

A pair that is the same after cutting has the DPO loss ln 2 and no gradient (OpenRLHF issue 1311). What is cut is
what TRL 1.16's DPOTrainer cuts (`tokenize_fn` and `DataCollatorForPreference` in trl/trainer/dpo_trainer.py):
prompt and completion are tokenized as one text, the completion begins where that leaves the prompt's own tokens,
and the whole is cut to max_length at its end or at its start.

The tokenizer with its chat template comes in as a function, so that this package imports no transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from rewards.prefixes import common_length
from rewards.types import Message, Pair

TruncationProblem = Literal["too_long", "same_after_truncation"]
"""No token of a completion is left, or both sides are the same tokens."""
TruncationMode = Literal["keep_start", "keep_end"]

PairCheck = Callable[[Sequence[Pair]], Sequence[TruncationProblem | None]]
"""For each pair, why it cannot be trained on, or None."""
Conversation = tuple[Message, ...]
Tokenize = Callable[[Sequence[Conversation], bool], list[list[int]]]
"""Token ids of each conversation, as the trainer makes them: up to where the assistant's turn begins if true
(`add_generation_prompt`), else as it is."""


def truncation_check(tokenize: Tokenize, *, max_length: int | None, mode: TruncationMode = "keep_start") -> PairCheck:
    """A check of pairs with the trainer's tokenizer. max_length is in tokens; None cuts nothing."""

    def check(pairs: Sequence[Pair]) -> list[TruncationProblem | None]:
        prompts = tokenize([pair.messages for pair in pairs], True)
        chosen = tokenize([_answered(pair.messages, pair.chosen) for pair in pairs], False)
        rejected = tokenize([_answered(pair.messages, pair.rejected) for pair in pairs], False)
        triples = zip(prompts, chosen, rejected, strict=True)
        return [truncation_problem(*triple, max_length=max_length, mode=mode) for triple in triples]

    return check


def _answered(messages: Conversation, completion: str) -> Conversation:
    return (*messages, Message(role="assistant", content=completion))


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
