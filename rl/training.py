"""What DPO, KTO and fine-tuning of a policy share beside `rewards.training`: TRL's config classes, the prompts' check.

The trainers are TRL's own, used and not subclassed. trl is imported inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Required, TypedDict

from pydantic import JsonValue

from rewards.errors import InputError
from rewards.judges.config import Attention, Dtype
from rewards.training.arguments import FIXED, OURS, check_options, common_arguments, refusals
from rewards.training.launch_settings import LaunchSettings
from rewards.training.running import (
    RESULT_FILE,
    TrainingResult,
    check_output,
    hold_out,
    last_checkpoint,
    run_trainer,
)
from rewards.training.sharding import shards
from rewards.training.trainable import Trainable, check_chat_template, load_trainable
from rewards.types import Message
from rl.training_settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import TrainerCallback

__all__ = [
    "RESULT_FILE",
    "TrainingJob",
    "TrainingResult",
    "check_output",
    "check_prompts",
    "check_trl",
    "hold_out",
    "last_checkpoint",
    "load_policy",
    "run_trainer",
    "trainer_arguments",
]

PolicyKind = Literal["dpo", "sft", "kto"]


class TrainingJob(TypedDict, total=False):
    """What every training of a policy is told beside its data and its settings.

    model: a folder, a hub id, or the embedded default model's name; with `adapter`, training goes on with it and the
        reference is the policy as it starts.
    trl: further keys of TRL's config class.
    launch: with several processes, each of them must call the job.
    resume: go on from the newest whole checkpoint in `output`, if there is one; the result is that of a run which was
        never stopped.
    """

    model: Required[str]
    output: Required[Path]
    trl: Mapping[str, JsonValue] | None
    adapter: Path | None
    dtype: Dtype
    attention: Attention
    launch: LaunchSettings | None
    callbacks: Sequence[TrainerCallback]
    resume: bool


def _config_class(kind: PolicyKind) -> type[Any]:
    from trl import DPOConfig, KTOConfig, SFTConfig

    classes: dict[PolicyKind, type[Any]] = {"dpo": DPOConfig, "sft": SFTConfig, "kto": KTOConfig}
    return classes[kind]


def check_trl(kind: PolicyKind, trl: Mapping[str, JsonValue]) -> dict[str, Any]:
    """The `trl:` block of a policy's training, checked; see `rewards.training.arguments.check_options`.

    Imports trl (about 12 s) unless the block is empty.
    """
    if not trl:
        return {}
    own = {} if kind == "sft" else {"beta": "beta", "loss_type": "loss_type"}
    return check_options(_config_class(kind), trl, ours=OURS | own, fixed=FIXED)


def trainer_arguments(
    kind: PolicyKind,
    settings: TrainingSettings,
    output: Path,
    *,
    dtype: Dtype,
    trl: Mapping[str, JsonValue],
    **own: Any,
) -> Any:
    """TRL's config object from our settings, what is fixed, the job's `own` keys, and the checked `trl:` block."""
    extra = check_trl(kind, trl)
    arguments = common_arguments(settings, output, dtype=dtype)
    with refusals("the training settings"):
        return _config_class(kind)(**(arguments | own | extra))


def load_policy(
    model: str,
    adapter: Path | None,
    settings: TrainingSettings,
    *,
    dtype: Dtype,
    attention: Attention,
    launch: LaunchSettings | None = None,
) -> Trainable:
    """The policy to train; see `rewards.training.trainable.load_trainable`. It must have a chat template."""
    policy = load_trainable(
        model,
        adapter,
        tuning=settings.tuning,
        lora=settings.lora,
        dtype=dtype,
        attention=attention,
        own_master=launch is not None and shards(launch),
    )
    check_chat_template(policy, model)
    return policy


def check_prompts(prompts: Mapping[str, Sequence[Message]]) -> None:
    """Raise InputError when a row, by its id, has no prompt or ends with something other than the user's turn."""
    bad = [name for name, messages in prompts.items() if not messages or messages[-1].role != "user"]
    if bad:
        shown = ", ".join(bad[:5]) + (", …" if len(bad) > 5 else "")
        raise InputError(
            f"expected a prompt that ends with the user's turn in each of {len(prompts)} rows, but {len(bad)} have "
            f"none ({shown}); select from candidates that come with their prompts"
        )
