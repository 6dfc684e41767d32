"""Rejection-sampling fine-tuning: supervised fine-tuning on the responses that the judge's rewards selected.

The rows are prompt and completion as messages, so the chat template writes both and TRL masks the prompt by
itself: the loss is on the response and its end-of-turn token. (TRL's `assistant_only_loss` would need a template
with generation markers, which most have not.) Choosing is `rewards.select`'s work, not done here. A response of
which the cut at `max_length` leaves nothing is left out and counted in the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from rewards.errors import InputError, RunError
from rewards.select import Selected
from rl.offline import Lesson, Used, train_offline
from rl.training import TrainingJob, TrainingResult, check_prompts
from rl.training_settings import SFTSettings


def train_on_selected(
    selected: Sequence[Selected] | Path, *, settings: SFTSettings, **job: Unpack[TrainingJob]
) -> TrainingResult:
    """Fine-tune a policy on selected responses (records, or the file of them); see `rl.offline.train_offline`.

    Raises RunError without any, InputError when none begins within `max_length`, and what the job does.
    """

    def lesson(found: list[Selected]) -> Lesson:
        if not found:
            raise RunError(
                "expected selected responses to train on, got none: no candidate passed the selection. Lower its "
                "threshold, sample more candidates, or read the manifest for the reasons"
            )
        check_prompts({row.candidate_id: row.messages for row in found})
        return Lesson(_rows(found), {"completion_only_loss": True})

    def left_out(used: Used) -> int:
        examples = len(used.rows) - used.held_out
        kept = examples if used.arguments.packing else used.kept
        if kept == 0:
            raise InputError(
                f"expected responses that begin within max_length = {settings.max_length} tokens, but every one of "
                f"the {examples} prompts is longer than that. Raise max_length"
            )
        return examples - kept

    return train_offline(
        selected, record=Selected, kind="sft", settings=settings, lesson=lesson, left_out=left_out, **job
    )


def _rows(selected: Sequence[Selected]) -> list[dict[str, Any]]:
    return [
        {
            "prompt_id": row.prompt_id,
            "candidate_id": row.candidate_id,
            "prompt": [message.model_dump() for message in row.messages],
            "completion": [{"role": "assistant", "content": row.text}],
        }
        for row in selected
    ]
