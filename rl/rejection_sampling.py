"""Rejection-sampling fine-tuning: supervised fine-tuning on the responses that the judge's rewards selected.

The rows are prompt and completion as messages, so the chat template writes both and TRL masks the prompt by
itself: the loss is on the response and its end-of-turn token. (TRL's `assistant_only_loss` would need a template
with generation markers, which most have not.) Choosing is `rewards.select`'s work, not done here. A response of
which the cut at `max_length` leaves nothing is left out and counted in the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rewards.errors import InputError, RunError
from rewards.jsonl import read_records
from rewards.judges.config import Attention, Dtype
from rewards.select import Selected
from rewards.training.arguments import quiet_deprecations, refusals
from rewards.training.distributed import joined
from rewards.training.launch_settings import LaunchSettings
from rl.training import (
    TrainingResult,
    check_output,
    check_prompts,
    hold_out,
    load_policy,
    run_trainer,
    trainer_arguments,
)
from rl.training_settings import SFTSettings

if TYPE_CHECKING:
    from transformers import TrainerCallback


@quiet_deprecations()
def train_on_selected(
    selected: Sequence[Selected] | Path,
    *,
    model: str,
    output: Path,
    settings: SFTSettings,
    trl: Mapping[str, JsonValue] | None = None,
    adapter: Path | None = None,
    dtype: Dtype = "auto",
    attention: Attention = "auto",
    launch: LaunchSettings | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    resume: bool = False,
) -> TrainingResult:
    """Fine-tune `model` on selected responses and save the adapter (or the whole model) in `output`.

    selected: records, or the file of them. The other arguments, the files and the errors are those of
    `rl.dpo.train_dpo`; `trl` holds keys of TRL's SFTConfig.
    """
    launch = launch or LaunchSettings()
    with joined(launch) as sharding:
        # The file is read in here, since the first process may have written it while the others waited.
        found = list(read_records(selected, Selected)) if isinstance(selected, Path) else list(selected)
        if not found:
            raise RunError(
                "expected selected responses to train on, got none: no candidate passed the selection. Lower its "
                "threshold, sample more candidates, or read the manifest for the reasons"
            )
        check_prompts({row.candidate_id: row.messages for row in found})
        checkpoint = check_output(output, resume=resume, launch=launch)
        arguments = trainer_arguments(
            "sft", settings, output, dtype=dtype, trl=trl or {}, completion_only_loss=True, **sharding
        )
        policy = load_policy(model, adapter, settings, dtype=dtype, attention=attention, launch=launch)
        held_out = hold_out([row.prompt_id for row in found], settings.eval_fraction, settings.seed)
        from trl import SFTTrainer

        with refusals("these responses with this policy"):
            trainer = SFTTrainer(
                model=policy.model,
                args=arguments,
                train_dataset=_dataset([row for row in found if row.prompt_id not in held_out]),
                eval_dataset=_dataset([row for row in found if row.prompt_id in held_out]) if held_out else None,
                processing_class=policy.tokenizer,
                peft_config=policy.peft_config,
            )
        examples = len(found) - sum(row.prompt_id in held_out for row in found)
        kept = examples if arguments.packing else len(trainer.train_dataset)
        if kept == 0:
            raise InputError(
                f"expected responses that begin within max_length = {settings.max_length} tokens, but every one of "
                f"the {examples} prompts is longer than that. Raise max_length"
            )
        return run_trainer(
            trainer,
            left_out=examples - kept,
            kind="sft",
            model=model,
            output=output,
            settings=settings,
            checkpoint=checkpoint,
            callbacks=callbacks,
        )


def _dataset(selected: Sequence[Selected]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "candidate_id": row.candidate_id,
                "prompt": [message.model_dump() for message in row.messages],
                "completion": [{"role": "assistant", "content": row.text}],
            }
            for row in selected
        ]
    )
