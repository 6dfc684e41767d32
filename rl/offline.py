"""Training a policy on records that are there already: what DPO, KTO and fine-tuning share, from rows to the result.

The trainers are TRL's own, used and not subclassed. A kind of training says what its records teach (`Lesson`), and
looks at what the trainer made of them before anything is learned. torch, transformers and trl are imported late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Unpack

from rewards.jsonl import read_records
from rewards.judges.chat_tokens import CHAT_TEMPLATE
from rewards.training.arguments import quiet_deprecations, refusals
from rewards.training.distributed import joined
from rewards.training.launch_settings import LaunchSettings
from rewards.types import Record
from rl.training import (
    PolicyKind,
    TrainingJob,
    TrainingResult,
    check_output,
    hold_out,
    load_policy,
    run_trainer,
    trainer_arguments,
)
from rl.training_settings import TrainingSettings

Row = dict[str, Any]
RecordT = TypeVar("RecordT", bound=Record)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the records teach."""

    rows: list[Row]
    """TRL's rows, each with its `prompt_id`: whole prompts are held out."""
    own: dict[str, Any] = field(default_factory=dict)
    """Keys of TRL's config class that the kind sets."""


@dataclass(frozen=True, slots=True)
class Used:
    """What the trainer made of a lesson."""

    trainer: Any
    arguments: Any
    rows: list[Row]
    """All that it was given."""
    held_out: int
    """How many of them to measure on."""

    @property
    def kept(self) -> int:
        """Rows that are left to train on."""
        return len(self.trainer.train_dataset)

    @property
    def kept_out(self) -> int:
        """Rows that are left to measure on."""
        return len(self.trainer.eval_dataset) if self.held_out else 0


@quiet_deprecations()
def train_offline(
    data: Sequence[RecordT] | Path,
    *,
    record: type[RecordT],
    kind: PolicyKind,
    settings: TrainingSettings,
    lesson: Callable[[list[RecordT]], Lesson],
    left_out: Callable[[Used], int],
    **job: Unpack[TrainingJob],
) -> TrainingResult:
    """Train a policy on records (or the file of them) and save the adapter, or the whole model, in `output`.

    lesson: raises RunError for records that teach nothing. left_out: rows that the trainer dropped, to be counted;
    raises InputError when too few are left. Checkpoints lie in `output`/checkpoints. Raises RunError at a NaN,
    InputError for settings or records that cannot be used, KeyboardInterrupt after a Ctrl-C with the step under way
    saved.
    """
    launch, output, dtype = job.get("launch") or LaunchSettings(), job["output"], job.get("dtype", "auto")
    with joined(launch) as sharding:
        # The file is read in here, since the first process may have written it while the others waited.
        taught = lesson(list(read_records(data, record)) if isinstance(data, Path) else list(data))
        checkpoint = check_output(output, resume=job.get("resume", False), launch=launch)
        arguments = trainer_arguments(
            kind, settings, output, dtype=dtype, trl=job.get("trl") or {}, **taught.own, **sharding
        )
        policy = load_policy(
            job["model"],
            job.get("adapter"),
            settings,
            dtype=dtype,
            attention=job.get("attention", "auto"),
            launch=launch,
        )
        apart = hold_out([row["prompt_id"] for row in taught.rows], settings.eval_fraction, settings.seed)
        rows = [row for row in taught.rows if row["prompt_id"] not in apart]
        held_out = [row for row in taught.rows if row["prompt_id"] in apart]
        with refusals("these records with this policy"):
            trainer = _trainer_class(kind)(
                model=policy.model,
                args=arguments,
                train_dataset=_dataset(rows),
                eval_dataset=_dataset(held_out) if held_out else None,
                processing_class=policy.tokenizer,
                peft_config=policy.peft_config,
            )
        return run_trainer(
            trainer,
            left_out=left_out(Used(trainer, arguments, taught.rows, len(held_out))),
            kind=kind,
            model=job["model"],
            output=output,
            settings=settings,
            checkpoint=checkpoint,
            callbacks=job.get("callbacks", ()),
        )


def _trainer_class(kind: PolicyKind) -> type[Any]:
    from trl import DPOTrainer, KTOTrainer, SFTTrainer

    classes: dict[PolicyKind, type[Any]] = {"dpo": DPOTrainer, "sft": SFTTrainer, "kto": KTOTrainer}
    return classes[kind]


def _dataset(rows: list[Row]) -> Any:
    from datasets import Dataset

    return Dataset.from_list([row | {"chat_template_kwargs": CHAT_TEMPLATE} for row in rows])
