"""One training run with any trainer of transformers or TRL: watched, resumable, saved, and told of as a record.

Every checkpoint is finished as the result is: an adapter names its base as the user did, and the arguments that
Trainer pickles are removed. With several processes all of them train, and only the first one writes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from rewards.documents import write_json
from rewards.errors import AutojError, InputError, RunError, StorageError
from rewards.training.arguments import CHECKPOINTS
from rewards.training.heap import freed_memory_kept
from rewards.training.launch_settings import LaunchSettings
from rewards.training.settings import TrainingSettings
from rewards.training.sharding import check_checkpoint
from rewards.types import Record

if TYPE_CHECKING:
    from torch.nn import Parameter
    from transformers import Trainer, TrainerCallback

Kind = Literal["dpo", "sft", "kto", "judge", "ppo", "grpo", "rloo"]
RESULT_FILE = "training.json"


class TrainingResult(Record):
    """A finished training job."""

    kind: Kind
    model: str
    """What was trained: the model's name or path."""
    output: str
    """Folder of the adapter or, with full tuning, of the model."""
    tuning: Literal["lora", "full"]
    device: str
    examples: int
    """Pairs or responses trained on."""
    held_out: int
    """Pairs or responses kept for measuring."""
    left_out: int = 0
    """Responses left out because they do not fit into `max_length`."""
    steps: int
    processes: int = 1
    """That trained together."""
    packed: bool = False
    """Whether several examples shared a row, without padding."""
    tokens: int = 0
    """Seen in all steps (where the trainer counts them)."""
    resumed_from: int | None = None
    """Step of the checkpoint that this start took up."""
    seconds: float
    """Of training, in this start."""
    parameters: int
    trained_parameters: int
    first_loss: float
    final_loss: float
    metrics_before: dict[str, float] = Field(default_factory=dict)
    """TRL's training metrics at the first logged step (for DPO rewards/margins and rewards/accuracies)."""
    metrics_after: dict[str, float] = Field(default_factory=dict)
    """The same metrics, as the mean over the last tenth of the logged steps."""
    held_out_before: dict[str, float] = Field(default_factory=dict)
    """TRL's metrics on what was held out, with the policy as it started."""
    held_out_after: dict[str, float] = Field(default_factory=dict)


def hold_out(prompt_ids: Sequence[str], fraction: float, seed: int) -> set[str]:
    """The prompts to hold out: whole prompts, so that no pair of theirs is trained on. At least one stays in."""
    import numpy as np

    unique = sorted(set(prompt_ids))
    count = min(len(unique) - 1, max(1, round(fraction * len(unique)))) if fraction else 0
    order = np.random.default_rng(seed).permutation(len(unique))
    return {unique[position] for position in order[:count]}


def last_checkpoint(output: Path) -> Path | None:
    """The newest whole checkpoint of a training folder; one that was cut off while it was written is passed over."""
    found = (path for path in (output / CHECKPOINTS).glob("checkpoint-*") if path.name.split("-")[-1].isdigit())
    for path in sorted(found, key=lambda path: int(path.name.split("-")[-1]), reverse=True):
        try:
            # Trainer writes this file last.
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return path
    return None


def check_output(output: Path, *, resume: bool, launch: LaunchSettings | None = None) -> Path | None:
    """The checkpoint to go on from.

    Raises InputError when there is one and nobody asked to resume, or when these processes cannot go on from it.
    """
    checkpoint = last_checkpoint(output)
    if checkpoint is not None and not resume:
        raise InputError(f"{output} holds a checkpoint ({checkpoint.name}); resume it, or give another output folder")
    if checkpoint is not None:
        check_checkpoint(checkpoint, launch or LaunchSettings())
    return checkpoint


def run_trainer(
    trainer: Trainer,
    *,
    kind: Kind,
    model: str,
    output: Path,
    settings: TrainingSettings,
    checkpoint: Path | None,
    callbacks: Sequence[TrainerCallback] = (),
    examples: int | None = None,
    left_out: int = 0,
    packed: bool = False,
    finish: Callable[[Path], object] | None = None,
) -> TrainingResult:
    """Train, save the adapter or model with its tokenizer into `output`, and say what came of it.

    examples: trained on, where the trainer's data set has other rows (`packed` ones).
    finish: called on the first process with the folder of each checkpoint and of the result, once it is written.
    Raises RunError for a NaN, StorageError when a checkpoint cannot be written, and KeyboardInterrupt after a
    Ctrl-C, once the step under way is finished and saved.
    """
    from transformers import PrinterCallback, ProgressCallback

    from rewards.training.callbacks import (
        AlreadyEndedError,
        FinishCheckpoint,
        ProgressBar,
        StopAtNaN,
        StopAtRequest,
        interrupts_as_requests,
    )

    def finish_folder(folder: Path) -> None:
        _name_base(folder / "adapter_config.json", model)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty form, with the base's folder on this machine
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle; training.json and the recipe say it all
        if finish is not None:
            finish(folder)

    stop, bar = StopAtRequest(), ProgressBar(kind.upper())
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    for callback in (*callbacks, StopAtNaN(), stop, bar, FinishCheckpoint(finish_folder)):
        trainer.add_callback(callback)
    # DeepSpeed has no engine yet that could evaluate.
    before = {} if trainer.is_deepspeed_enabled else _held_out_metrics(trainer)
    started = time.perf_counter()
    try:
        memory = freed_memory_kept() if trainer.args.device.type == "cpu" else nullcontext()
        with interrupts_as_requests(stop), suppress(AlreadyEndedError), memory:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        seconds = time.perf_counter() - started
        if stop.requested:
            raise KeyboardInterrupt(f"stopped after step {trainer.state.global_step}; --resume goes on from there")
        after = _held_out_metrics(trainer)
        _save(trainer, output)
        if trainer.is_world_process_zero():
            finish_folder(output)
    except AutojError:  # some of them are OSErrors too: a full disk, a judge that is lost, a missing file
        raise
    except OSError as error:
        raise StorageError(f"training stopped at a file: {error}. Free some space and resume") from error
    finally:
        bar.close()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    if not history:
        raise RunError("expected at least one optimizer step, got none; is `epochs` too small for the data?")
    result = TrainingResult(
        kind=kind,
        model=model,
        output=str(output),
        tuning=settings.tuning,
        device=str(trainer.args.device),
        examples=len(trainer.train_dataset) if examples is None else examples,
        held_out=0 if trainer.eval_dataset is None else len(trainer.eval_dataset),
        left_out=left_out,
        steps=trainer.state.global_step,
        processes=trainer.args.world_size,
        packed=packed,
        tokens=int(history[-1].get("num_tokens", 0)),
        resumed_from=None if checkpoint is None else int(checkpoint.name.split("-")[-1]),
        seconds=seconds,
        parameters=sum(map(_size, trainer.model.parameters())),
        trained_parameters=sum(_size(weight) for weight in trainer.model.parameters() if weight.requires_grad),
        first_loss=history[0]["loss"],
        final_loss=history[-1]["loss"],
        metrics_before=_mean_metrics(history[:1]),
        metrics_after=_mean_metrics(history[-max(1, len(history) // 10) :]),
        held_out_before=before,
        held_out_after=after,
    )
    if trainer.is_world_process_zero():
        write_json(output / RESULT_FILE, result)
    return result


_NOT_METRICS = {"epoch", "step", "learning_rate", "num_tokens", "model_preparation_time"}


def _mean_metrics(entries: Sequence[Mapping[str, float]]) -> dict[str, float]:
    # A metric that some step could not measure (no sample had a reward) has no mean.
    keys = [
        key for key in entries[0] if key not in _NOT_METRICS and all(entry.get(key) is not None for entry in entries)
    ]
    return {key: sum(entry[key] for entry in entries) / len(entries) for key in keys}


def _held_out_metrics(trainer: Trainer) -> dict[str, float]:
    if trainer.eval_dataset is None:
        return {}
    metrics = trainer.evaluate()
    return {
        key.removeprefix("eval_"): value
        for key, value in metrics.items()
        if key.removeprefix("eval_") not in _NOT_METRICS and not key.endswith(("runtime", "_per_second"))
    }


def _size(weight: Parameter) -> int:
    """Number of elements, also of a weight that ZeRO-3 keeps in parts (and whose own count is then 0)."""
    return int(getattr(weight, "ds_numel", weight.numel()))


def _save(trainer: Trainer, output: Path) -> None:
    from peft import PeftModel

    model = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(model, PeftModel) and "ref" in model.peft_config:
        model.delete_adapter("ref")  # TRL's frozen copy of the adapter that training went on with
    trainer.save_model(str(output))


def _name_base(config: Path, name: str) -> None:
    """Let the adapter name its base as the user did, and not by a folder in this user's cache."""
    if config.exists():
        content = json.loads(config.read_text(encoding="utf-8")) | {"base_model_name_or_path": name}
        write_json(config, content)
