"""DPO on preference pairs with TRL's trainer.

A prompt goes in as its messages and a response as an assistant's message, so the tokenizer's own chat template
writes both. With LoRA the reference is the policy with its adapter off; with full tuning it is a second copy.

Pairs that carry no signal are refused and not dropped: making good pairs is selection's work, and a pair without
signal here means that selection was skipped or checked another length. TRL alone would train on pairs that the
cut at `max_length` makes identical (loss ln 2, no gradient), and silently drop those whose prompt fills it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from rewards.errors import InputError, RunError
from rewards.types import Pair
from rl.offline import Lesson, Used, train_offline
from rl.training import TrainingJob, TrainingResult, check_prompts
from rl.training_settings import DPOSettings


def train_dpo(pairs: Sequence[Pair] | Path, *, settings: DPOSettings, **job: Unpack[TrainingJob]) -> TrainingResult:
    """Train a policy on preference pairs (records, or the file of them); see `rl.offline.train_offline`.

    Raises RunError without pairs, InputError for pairs without signal within `max_length`, and what the job does.
    """

    def lesson(found: list[Pair]) -> Lesson:
        if not found:
            raise RunError(
                "expected preference pairs to train on, got none: the judge's rewards left no pair with a better and "
                "a worse response. Sample more candidates, lower the margin, or read the manifest for the reasons"
            )
        check_prompts({pair.id: pair.messages for pair in found})
        return Lesson(_rows(found), {"beta": settings.beta, "loss_type": [settings.loss_type]})

    def left_out(used: Used) -> int:
        tokenized = [used.trainer.train_dataset] + ([used.trainer.eval_dataset] if used.held_out else [])
        check_signal([row["pair_id"] for row in used.rows], tokenized, settings.max_length)
        return 0

    return train_offline(pairs, record=Pair, kind="dpo", settings=settings, lesson=lesson, left_out=left_out, **job)


def _rows(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    return [
        {
            "pair_id": pair.id,
            "prompt_id": pair.prompt_id,
            "prompt": [message.model_dump() for message in pair.messages],
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
        }
        for pair in pairs
    ]


def check_signal(pair_ids: Sequence[str], tokenized: Sequence[Any], max_length: int) -> None:
    """Raise InputError when a pair is the same on both sides once it is cut to `max_length` tokens.

    tokenized: the trainer's datasets, with columns pair_id, prompt_ids, chosen_ids, rejected_ids; a pair that
    is missing there was dropped by TRL, because its prompt alone has `max_length` tokens.
    """
    differ: set[str] = set()
    for dataset in tokenized:
        for row in dataset:
            room = max(0, max_length - len(row["prompt_ids"]))
            if row["chosen_ids"][:room] != row["rejected_ids"][:room]:
                differ.add(row["pair_id"])
    without = [pair_id for pair_id in pair_ids if pair_id not in differ]
    if without:
        shown = ", ".join(without[:5]) + (", …" if len(without) > 5 else "")
        raise InputError(
            f"expected chosen and rejected to differ within max_length = {max_length} tokens, but {len(without)} of "
            f"{len(pair_ids)} pairs do not ({shown}). Raise max_length, or select pairs with the policy's tokenizer "
            "and this max_length, which leaves them out and counts them"
        )
