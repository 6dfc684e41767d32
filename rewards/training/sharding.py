"""How processes share a model: the keys of a strategy, and the shipped files that say the same to other launchers.

`launch/` beside this module holds a DeepSpeed configuration (JSON) for each ZeRO stage, which is what the strategy
uses, and a file for `accelerate launch --config_file` for each strategy. A job started by `accelerate launch` or by
`deepspeed` is the same job: it is told its `launch` section, checks the world that it got, and shards by its own keys.

Starts no process and joins none: `rewards.training.distributed` does that. Imports no torch.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from rewards.errors import InputError, MissingFileError
from rewards.training.launch_settings import LaunchSettings, Strategy

FSDP2: dict[str, Any] = {
    "version": 2,
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "state_dict_type": "FULL_STATE_DICT",
}
"""transformers' `fsdp_config` of the strategy fsdp2."""


def shards(launch: LaunchSettings) -> bool:
    """Whether DeepSpeed shards, whose optimizer keeps float32 weights of its own."""
    return launch.strategy in ("zero2", "zero3")


def sharding_arguments(launch: LaunchSettings) -> dict[str, Any]:
    """The keys of transformers' TrainingArguments that a strategy sets; errors as for `deepspeed_config`."""
    if launch.strategy == "ddp":
        return {"ddp_find_unused_parameters": False}
    if launch.strategy == "fsdp2":
        return {"fsdp": True, "fsdp_config": dict(FSDP2)}
    return {"deepspeed": deepspeed_config(launch)}


def launch_file(strategy: Strategy, launcher: str) -> Path:
    """The shipped file of a strategy for `accelerate` (YAML), or for `deepspeed` (JSON; the ZeRO stages only)."""
    ending = "yaml" if launcher == "accelerate" else "json"
    return Path(str(files("rewards.training").joinpath("launch", f"{launcher}_{strategy}.{ending}")))


def deepspeed_config(launch: LaunchSettings) -> dict[str, Any]:
    """The DeepSpeed configuration of a strategy, or the user's own.

    Raises MissingFileError and InputError when the user's file is missing, no JSON, or of another ZeRO stage.
    """
    if launch.config is None:
        return dict(json.loads(launch_file(launch.strategy, "deepspeed").read_text(encoding="utf-8")))
    return _own_config(launch.config, stage=int(launch.strategy.removeprefix("zero")))


def _own_config(path: Path, *, stage: int) -> dict[str, Any]:
    if not path.is_file():
        raise MissingFileError(f"expected a DeepSpeed configuration at {path} (launch.config), found none")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    found = content.get("zero_optimization", {}).get("stage") if isinstance(content, dict) else None
    if found != stage:
        raise InputError(f"expected ZeRO stage {stage} in {path}, as launch.strategy says, got {found}")
    return dict(content)


def check_checkpoint(checkpoint: Path, launch: LaunchSettings) -> None:
    """Raise InputError when these processes cannot go on from a checkpoint.

    DDP and one process hold the whole optimizer, so any number goes on from any other. DeepSpeed saves a part of its
    optimizer for each process and takes it back into the same number of them only.
    """
    parts = len(list(checkpoint.glob("global_step*/*_optim_states.pt")))
    if parts and not shards(launch):
        raise InputError(
            f"{checkpoint} was written by DeepSpeed on {parts} process(es), which launch.strategy {launch.strategy} "
            f"cannot read; go on with the strategy that it was started with, and --nproc {parts}"
        )
    if not parts and shards(launch):
        raise InputError(
            f"{checkpoint} holds no DeepSpeed state to go on from with launch.strategy {launch.strategy}; go on with "
            "the strategy that it was started with"
        )
    if parts and parts != launch.processes:
        raise InputError(
            f"{checkpoint} holds DeepSpeed's optimizer in {parts} part(s), and this job has {launch.processes} "
            f"process(es): DeepSpeed goes on with the same number only; start {parts} in all. Checkpoints of ddp go "
            "on with any number"
        )
