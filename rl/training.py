"""What DPO and fine-tuning share: TRL's arguments, resuming, and the result.

The trainers are TRL's own, used and not subclassed. Ours are about ten typed settings; every other option is a key of
the `trl:` block, checked by name and type against TRL's config class before anything is loaded. Precision and
device follow the machine: without CUDA the trainers run on the CPU in float32.

torch, transformers, peft and trl are imported inside functions. This module writes no recipe stage and no
report, and does not tune the distributed launch: that is accelerate's and DeepSpeed's own configuration.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from rewards.errors import InputError, RunError, StorageError
from rewards.judges.config import Dtype
from rewards.types import Message, Record
from rl.policy import refusals, resolve_dtype
from rl.training_settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

Kind = Literal["dpo", "sft"]
RESULT_FILE = "training.json"
CHECKPOINTS = "checkpoints"

_OURS = {
    "learning_rate": "learning_rate",
    "warmup_steps": "warmup",
    "num_train_epochs": "epochs",
    "max_steps": "max_steps",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "max_length": "max_length",
    "truncation_mode": "max_length",
    "gradient_checkpointing": "gradient_checkpointing",
    "activation_checkpointing": "gradient_checkpointing",
    "save_steps": "save_steps",
    "save_strategy": "save_steps",
    "seed": "seed",
    "beta": "beta",
}
"""TRL's key: our field that sets it."""
_FIXED = {
    "output_dir": "the run folder",
    "report_to": "the `track` section",
    "use_cpu": "the machine",
    "bf16": "the policy's dtype",
    "fp16": "the policy's dtype",
    "model_init_kwargs": "the policy's dtype and attention",
    "completion_only_loss": "the job: the loss is on the response only",
    "assistant_only_loss": "the job: the loss is on the response only",
    "logging_nan_inf_filter": "the job: a NaN stops it",
    "save_only_model": "the job: a checkpoint must be resumable",
    "resume_from_checkpoint": "--resume",
}
"""TRL's key: what sets it instead."""


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
    """Responses left out because their prompt alone is as long as `max_length`."""
    steps: int
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


def _config_class(kind: Kind) -> type[Any]:
    from trl import DPOConfig, SFTConfig

    classes: dict[Kind, type[Any]] = {"dpo": DPOConfig, "sft": SFTConfig}
    return classes[kind]


def check_trl(kind: Kind, trl: Mapping[str, JsonValue]) -> dict[str, Any]:
    """The `trl:` block with its values in the types of TRL's config class.

    Raises InputError with all that is wrong with it: unknown keys with a suggestion, keys that a field of ours
    sets, values of a wrong type. Imports trl (about 12 s) unless the block is empty.
    """
    if not trl:
        return {}
    config = _config_class(kind)
    known = {field.name for field in fields(config) if field.init}
    hints = get_type_hints(config)
    ours = _OURS | ({"loss_type": "loss_type"} if kind == "dpo" else {})
    values: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in trl.items():
        if key in ours:
            problems.append(f"{key}: set `{ours[key]}` in the `train` section instead")
        elif key in _FIXED:
            problems.append(f"{key}: this is set by {_FIXED[key]}")
        elif key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            problems.append(f"{key}: unknown key" + (f", did you mean {close[0]}?" if close else ""))
        else:
            try:
                values[key] = TypeAdapter(hints[key]).validate_python(value)
            except ValidationError as error:
                problems.append(f"{key}: {error.errors(include_url=False)[0]['msg']}, got {value!r}")
    if problems:
        raise InputError(f"the `trl` block must hold keys of TRL's {config.__name__}:\n  " + "\n  ".join(problems))
    return values


def trainer_arguments(
    kind: Kind, settings: TrainingSettings, output: Path, *, dtype: Dtype, trl: Mapping[str, JsonValue], **own: Any
) -> Any:
    """TRL's config object from our settings, what is fixed, the job's `own` keys, and the checked `trl:` block."""
    import torch

    extra = check_trl(kind, trl)
    arguments: dict[str, Any] = {
        "output_dir": str(output / CHECKPOINTS),
        "learning_rate": settings.learning_rate,
        "warmup_steps": settings.warmup,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "max_length": settings.max_length,
        "activation_checkpointing": settings.gradient_checkpointing,  # the name since transformers 5.23
        "save_strategy": "steps",
        "save_steps": settings.save_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "seed": settings.seed,
        "report_to": "none",
        "use_cpu": not torch.cuda.is_available(),
        "bf16": resolve_dtype(dtype) == "bfloat16",
        "fp16": resolve_dtype(dtype) == "float16",
        # Pinned memory only helps a copy to a GPU; asking for it without one is a warning in every run.
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    with refusals("the training settings"):
        return _config_class(kind)(**(arguments | own | extra))


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


def check_output(output: Path, *, resume: bool) -> Path | None:
    """The checkpoint to go on from. Raises InputError when there is one and nobody asked to resume."""
    checkpoint = last_checkpoint(output)
    if checkpoint is not None and not resume:
        raise InputError(f"{output} holds a checkpoint ({checkpoint.name}); resume it, or give another output folder")
    return checkpoint


def check_prompts(prompts: Mapping[str, Sequence[Message]]) -> None:
    """Raise InputError when a row, by its id, has no prompt or ends with something other than the user's turn."""
    bad = [name for name, messages in prompts.items() if not messages or messages[-1].role != "user"]
    if bad:
        shown = ", ".join(bad[:5]) + (", …" if len(bad) > 5 else "")
        raise InputError(
            f"expected a prompt that ends with the user's turn in each of {len(prompts)} rows, but {len(bad)} have "
            f"none ({shown}); select from candidates that come with their prompts"
        )


def run_trainer(
    trainer: Trainer,
    *,
    kind: Kind,
    model: str,
    output: Path,
    settings: TrainingSettings,
    checkpoint: Path | None,
    callbacks: Sequence[TrainerCallback] = (),
    left_out: int = 0,
) -> TrainingResult:
    """Train, save the adapter or model with its tokenizer into `output`, and say what came of it.

    Raises RunError for a NaN, StorageError when a checkpoint cannot be written, and KeyboardInterrupt after a
    Ctrl-C, once the step under way is finished and saved.
    """
    from transformers import PrinterCallback, ProgressCallback

    from rl.training_callbacks import ProgressBar, StopAtNaN, StopAtRequest, interrupts_as_requests

    stop, bar = StopAtRequest(), ProgressBar(kind.upper())
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    for callback in (*callbacks, StopAtNaN(), stop, bar):
        trainer.add_callback(callback)
    before = _held_out_metrics(trainer)
    started = time.perf_counter()
    try:
        with interrupts_as_requests(stop):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        seconds = time.perf_counter() - started
        if stop.requested:
            raise KeyboardInterrupt(f"stopped after step {trainer.state.global_step}; --resume goes on from there")
        after = _held_out_metrics(trainer)
        _save(trainer, output, model)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
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
        examples=len(trainer.train_dataset),
        held_out=0 if trainer.eval_dataset is None else len(trainer.eval_dataset),
        left_out=left_out,
        steps=trainer.state.global_step,
        resumed_from=None if checkpoint is None else int(checkpoint.name.split("-")[-1]),
        seconds=seconds,
        parameters=sum(weight.numel() for weight in trainer.model.parameters()),
        trained_parameters=sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad),
        first_loss=history[0]["loss"],
        final_loss=history[-1]["loss"],
        metrics_before=_mean_metrics(history[:1]),
        metrics_after=_mean_metrics(history[-max(1, len(history) // 10) :]),
        held_out_before=before,
        held_out_after=after,
    )
    if trainer.is_world_process_zero():
        (output / RESULT_FILE).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return result


_NOT_METRICS = {"epoch", "step", "learning_rate", "num_tokens", "model_preparation_time"}


def _mean_metrics(entries: Sequence[Mapping[str, float]]) -> dict[str, float]:
    keys = [key for key in entries[0] if key not in _NOT_METRICS]
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


def _save(trainer: Trainer, output: Path, name: str) -> None:
    from peft import PeftModel

    model = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(model, PeftModel) and "ref" in model.peft_config:
        model.delete_adapter("ref")  # TRL's frozen copy of the adapter that training went on with
    trainer.save_model(str(output))
    if trainer.is_world_process_zero():
        _name_base(output / "adapter_config.json", name)
        (output / "training_args.bin").unlink(missing_ok=True)  # a pickle; training.json and the recipe say it all


def _name_base(config: Path, name: str) -> None:
    """Let the adapter name its base as the user did, and not by a folder in this user's cache."""
    if config.exists():
        content = json.loads(config.read_text(encoding="utf-8")) | {"base_model_name_or_path": name}
        config.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
