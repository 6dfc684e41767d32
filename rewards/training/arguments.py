"""A trainer's arguments: ours as typed settings, every other key of TRL's config class through a checked block.

The config class is given by who calls, so that this module needs no trl. Precision and device follow the machine:
without CUDA the trainers run on the CPU in float32. Processes and sharding are not decided here.
"""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import JsonValue, TypeAdapter, ValidationError

from rewards.errors import InputError
from rewards.judges.config import Dtype
from rewards.training.settings import TrainingSettings
from rewards.training.trainable import resolve_dtype

CHECKPOINTS = "checkpoints"

OURS = {
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
}
"""TRL's key: the field of `TrainingSettings` that sets it."""
FIXED = {
    "output_dir": "the run folder",
    "report_to": "the `track` section",
    "use_cpu": "the machine",
    "bf16": "the model's dtype",
    "fp16": "the model's dtype",
    "model_init_kwargs": "the model's dtype and attention",
    "completion_only_loss": "the job: the loss is on the response only",
    "assistant_only_loss": "the job: the loss is on the response only",
    "logging_nan_inf_filter": "the job: a NaN stops it",
    "save_only_model": "the job: a checkpoint must be resumable",
    "resume_from_checkpoint": "--resume",
    "deepspeed": "the `launch` section",
    "fsdp": "the `launch` section",
    "fsdp_config": "the `launch` section",
    "ddp_find_unused_parameters": "the `launch` section",
}
"""TRL's key: what sets it instead."""


@contextmanager
def quiet_deprecations() -> Iterator[None]:
    """Leave out warnings that only TRL can act on: 1.16 calls transformers' checkpointing by its old names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing\w*` is deprecated", FutureWarning)
        yield


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn what TRL, PEFT or a chat template refuses inside into InputError."""
    from jinja2 import TemplateError

    try:
        yield
    except (TypeError, ValueError, TemplateError) as error:
        raise InputError(f"{what} cannot be used: {error}") from error


def check_options(
    config: type[Any], given: Mapping[str, JsonValue], *, ours: Mapping[str, str], fixed: Mapping[str, str]
) -> dict[str, Any]:
    """The `trl:` block with its values in the types of TRL's config class.

    Raises InputError with all that is wrong with it: unknown keys with a suggestion, keys that a field of ours
    sets (`ours`) or that something else sets (`fixed`), values of a wrong type.
    """
    known = {field.name for field in fields(config) if field.init}
    hints = get_type_hints(config)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in given.items():
        if key in ours:
            problems.append(f"{key}: set `{ours[key]}` in the `train` section instead")
        elif key in fixed:
            problems.append(f"{key}: this is set by {fixed[key]}")
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


def common_arguments(settings: TrainingSettings, output: Path, *, dtype: Dtype) -> dict[str, Any]:
    """The keys of transformers' `TrainingArguments` that every job sets the same way."""
    import torch

    precision = resolve_dtype(dtype)
    if not torch.cuda.is_available():
        # Where DeepSpeed is installed, accelerate imports it in any training, and it warns of what it found.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    return {
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
        "bf16": precision == "bfloat16",
        "fp16": precision == "float16",
        # Pinned memory only helps a copy to a GPU; asking for it without one is a warning in every run.
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
