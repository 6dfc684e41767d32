"""DPO on preference pairs with TRL's trainer.

A prompt goes in as its messages and a response as an assistant's message, so the tokenizer's own chat template
writes both. With LoRA the reference is the policy with its adapter off; with full tuning it is a second copy.

Pairs that carry no signal are refused and not dropped: making good pairs is selection's work, and a pair without
signal here means that selection was skipped or checked another length. TRL alone would train on pairs that the
cut at `max_length` makes identical (loss ln 2, no gradient), and silently drop those whose prompt fills it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rewards.errors import InputError, RunError
from rewards.jsonl import read_records
from rewards.judges.config import Attention, Dtype
from rewards.training.arguments import quiet_deprecations, refusals
from rewards.training.distributed import joined
from rewards.training.launch_settings import LaunchSettings
from rewards.types import Pair
from rl.training import (
    TrainingResult,
    check_output,
    check_prompts,
    hold_out,
    load_policy,
    run_trainer,
    trainer_arguments,
)
from rl.training_settings import DPOSettings

if TYPE_CHECKING:
    from transformers import TrainerCallback


@quiet_deprecations()
def train_dpo(
    pairs: Sequence[Pair] | Path,
    *,
    model: str,
    output: Path,
    settings: DPOSettings,
    trl: Mapping[str, JsonValue] | None = None,
    adapter: Path | None = None,
    dtype: Dtype = "auto",
    attention: Attention = "auto",
    launch: LaunchSettings | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    resume: bool = False,
) -> TrainingResult:
    """Train `model` on preference pairs and save the adapter (or the whole model) in `output`.

    pairs: records, or the file of them.
    model: a folder, a hub id, or the embedded default model's name; with `adapter`, training goes on with it and
        the reference is the policy as it starts.
    trl: further keys of TRL's DPOConfig.
    launch: with several processes, each of them must call this.
    resume: go on from the newest whole checkpoint in `output`, if there is one; the result is that of a run
        which was never stopped.
    Checkpoints lie in `output`/checkpoints. Raises RunError without pairs or at a NaN, InputError for settings
    or pairs that cannot be used, KeyboardInterrupt after a Ctrl-C with the step under way saved.
    """
    launch = launch or LaunchSettings()
    with joined(launch) as sharding:
        # The file is read in here, since the first process may have written it while the others waited.
        found = list(read_records(pairs, Pair)) if isinstance(pairs, Path) else list(pairs)
        if not found:
            raise RunError(
                "expected preference pairs to train on, got none: the judge's rewards left no pair with a better and "
                "a worse response. Sample more candidates, lower the margin, or read the manifest for the reasons"
            )
        check_prompts({pair.id: pair.messages for pair in found})
        checkpoint = check_output(output, resume=resume, launch=launch)
        arguments = trainer_arguments(
            "dpo",
            settings,
            output,
            dtype=dtype,
            trl=trl or {},
            beta=settings.beta,
            loss_type=[settings.loss_type],
            **sharding,
        )
        policy = load_policy(model, adapter, settings, dtype=dtype, attention=attention, launch=launch)
        held_out = hold_out([pair.prompt_id for pair in found], settings.eval_fraction, settings.seed)
        from trl import DPOTrainer

        with refusals("these pairs with this policy"):
            trainer = DPOTrainer(
                model=policy.model,
                args=arguments,
                train_dataset=_dataset([pair for pair in found if pair.prompt_id not in held_out]),
                eval_dataset=_dataset([pair for pair in found if pair.prompt_id in held_out]) if held_out else None,
                processing_class=policy.tokenizer,
                peft_config=policy.peft_config,
            )
        used = [trainer.train_dataset] + ([trainer.eval_dataset] if held_out else [])
        check_signal([pair.id for pair in found], used, settings.max_length)
        return run_trainer(
            trainer,
            kind="dpo",
            model=model,
            output=output,
            settings=settings,
            checkpoint=checkpoint,
            callbacks=callbacks,
        )


def _dataset(pairs: Sequence[Pair]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "pair_id": pair.id,
                "prompt": [message.model_dump() for message in pair.messages],
                "chosen": [{"role": "assistant", "content": pair.chosen}],
                "rejected": [{"role": "assistant", "content": pair.rejected}],
            }
            for pair in pairs
        ]
    )


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
