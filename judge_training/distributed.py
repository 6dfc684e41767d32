"""Several processes that train one judge: checked against what was asked for, joined, and let go again.

torchrun starts the processes; nothing here starts any. The number of processes is part of a recipe, since it changes
the batch, and because a launcher may silently start one process where two were meant. Every process must call
`joined` and load the model inside it: ZeRO-3 and DDP wait for all of them. The process group is joined here and not
by the trainer, because ZeRO-3 shards a model while it is loaded, and because processes wait in it for as long as
the first one judges.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

from judge_training.training_settings import LaunchSettings
from rewards.errors import InputError, MissingExtraError, MissingFileError

PATIENCE = timedelta(hours=24)
"""How long a process waits for the others (the first one may be judging with the start model)."""


def process_rank() -> int:
    """Number of this process among those that torchrun started; 0 without it."""
    return int(os.environ.get("RANK", "0"))


def check_launch(launch: LaunchSettings) -> None:
    """Raise InputError or MissingExtraError when the job was not started as its settings say.

    Also tells DeepSpeed to compute on the CPU where there is no GPU, which it must know before it is imported.
    """
    import torch

    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != launch.processes:
        raise InputError(
            f"expected {launch.processes} process(es) (launch.processes), this job was started with {started}; start "
            f"it with `torchrun --nproc_per_node {launch.processes} -m recipes.cli run …`, or change the setting"
        )
    if launch.strategy == "fsdp2" and not torch.cuda.is_available():
        raise InputError(
            "expected GPUs for launch.strategy fsdp2, found none: on CPUs it is silently ignored and runs as DDP; use "
            "ddp, zero2 or zero3"
        )
    if launch.config is not None and launch.strategy not in ("zero2", "zero3"):
        raise InputError(f"launch.config is DeepSpeed's and needs strategy zero2 or zero3, got {launch.strategy}")
    if launch.strategy == "ddp":
        return
    if "LOCAL_RANK" not in os.environ:
        raise InputError(
            f"launch.strategy {launch.strategy} needs torchrun, also for one process: "
            f"`torchrun --nproc_per_node {launch.processes} -m recipes.cli run …`"
        )
    if launch.strategy == "fsdp2":
        return
    if importlib.util.find_spec("deepspeed") is None:
        raise MissingExtraError("launch.strategy zero2 and zero3 need DeepSpeed: run `pip install 'autoj[deepspeed]'`")
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"


@contextmanager
def joined(launch: LaunchSettings) -> Iterator[dict[str, Any]]:
    """Join the other processes; gives the keys of TrainingArguments that shard the model.

    Waits at the start until all processes are there. A model made inside is sharded where the strategy says so; after
    it, each process may load whole models on its own again.
    """
    check_launch(launch)
    if launch.processes == 1 and launch.strategy == "ddp":
        yield {}
        return
    import torch.distributed as dist

    _join()
    try:
        dist.barrier()
        yield _sharding(launch)
        dist.barrier()
    finally:
        _let_go()


def _join() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group("cuda:nccl,cpu:gloo", timeout=PATIENCE)
    else:
        torch.distributed.init_process_group("gloo", timeout=PATIENCE)


def _let_go() -> None:
    """Leave the group, and make models load whole again."""
    import torch.distributed as dist
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    if dist.is_initialized():
        dist.destroy_process_group()


def _sharding(launch: LaunchSettings) -> dict[str, Any]:
    if launch.strategy == "ddp":
        return {"ddp_find_unused_parameters": False}
    if launch.strategy == "fsdp2":
        return {
            "fsdp": True,
            "fsdp_config": {
                "version": 2,
                "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                "state_dict_type": "FULL_STATE_DICT",
            },
        }
    import deepspeed
    import torch

    deepspeed.init_distributed("nccl" if torch.cuda.is_available() else "gloo")
    return {"deepspeed": deepspeed_config(launch)}


def deepspeed_config(launch: LaunchSettings) -> dict[str, Any]:
    """The DeepSpeed configuration of a strategy, or the user's own.

    Raises MissingFileError and InputError when the user's file is missing, no JSON, or of another ZeRO stage.
    """
    if launch.config is None:
        shipped = files("judge_training").joinpath(f"deepspeed_{launch.strategy}.json")
        return dict(json.loads(shipped.read_text(encoding="utf-8")))
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
