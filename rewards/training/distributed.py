"""Several processes that train one model: checked against what was asked for, joined, and let go again.

A launcher (`autoj run --nproc`, torchrun, accelerate, deepspeed) starts the processes; nothing here starts any. Every
process must call `joined` and load the model inside it: ZeRO-3 and DDP wait for all of them. The process group is
joined here and not by the trainer, because ZeRO-3 shards a model while it is loaded, and because processes wait in it
for as long as the first one samples and judges. They wait on the CPU, so that their GPUs stay free and idle.

A job of its own needs three lines: `with joined(launch) as sharding:`, its trainer's arguments with `**sharding`, and
`check_output(output, resume=…, launch=launch)` for the checkpoint to go on from.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rewards.errors import InputError, MissingExtraError, RunError
from rewards.training.launch_settings import LaunchSettings
from rewards.training.sharding import sharding_arguments, shards

PATIENCE = timedelta(hours=24)
"""How long a process waits for the others (the first one may be sampling and judging)."""

_ACCELERATE = ("ACCELERATE_USE_", "ACCELERATE_DEEPSPEED_", "ACCELERATE_CONFIG_DS_FIELDS", "FSDP_")
"""Variables in which `accelerate launch` says how to shard."""


def process_rank() -> int:
    """Number of this process among all that were started; 0 when it is the only one."""
    return int(os.environ.get("RANK", "0"))


def processes_started() -> int:
    """How many processes the launcher says it has started, on all machines; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_launch(launch: LaunchSettings) -> None:
    """Raise InputError or MissingExtraError when the job was not started as its settings say.

    Also tells DeepSpeed to compute on the CPU where there is no GPU, which it must know before it is imported.
    """
    started = processes_started()
    if started != launch.processes:
        raise InputError(
            f"expected {launch.processes} process(es) (launch.processes), this job was started with {started}; start "
            f"it with `autoj run RECIPE --nproc {launch.processes}`, or change the setting"
        )
    check_machine(launch, here=int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if launch.strategy != "ddp" and "LOCAL_RANK" not in os.environ:
        raise InputError(
            f"launch.strategy {launch.strategy} needs a launcher, also for one process: "
            f"`autoj run RECIPE --nproc {launch.processes} --strategy {launch.strategy}`"
        )
    _check_accelerate(launch)
    if shards(launch) and not _has_gpu():
        os.environ["DS_ACCELERATOR"] = "cpu"


def _check_accelerate(launch: LaunchSettings) -> None:
    """See that `accelerate launch` means the same strategy, and put its word away: the job shards by its own keys."""
    said: str = launch.strategy
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        said = f"zero{os.environ.get('ACCELERATE_DEEPSPEED_ZERO_STAGE', launch.strategy.removeprefix('zero'))}"
    elif os.environ.get("ACCELERATE_USE_FSDP") == "true":
        said = f"fsdp{os.environ.get('FSDP_VERSION', '1')}"
    if said != launch.strategy:
        raise InputError(
            f"expected accelerate launch to start launch.strategy {launch.strategy}, its file says {said}; give "
            f"--launch.strategy {said}, or the file of {launch.strategy}"
        )
    # With both, accelerate refuses a DeepSpeed configuration that its own variables repeat.
    for name in [name for name in os.environ if name.startswith(_ACCELERATE)]:
        del os.environ[name]


def check_machine(launch: LaunchSettings, *, here: int) -> None:
    """Raise InputError or MissingExtraError when this machine cannot run `here` processes of a strategy."""
    import torch

    if launch.strategy == "fsdp2" and not _has_gpu():
        raise InputError(
            "expected GPUs for launch.strategy fsdp2, found none: on CPUs it is silently ignored and runs as DDP; use "
            "ddp, zero2 or zero3"
        )
    if launch.config is not None and not shards(launch):
        raise InputError(f"launch.config is DeepSpeed's and needs strategy zero2 or zero3, got {launch.strategy}")
    if shards(launch) and importlib.util.find_spec("deepspeed") is None:
        raise MissingExtraError("launch.strategy zero2 and zero3 need DeepSpeed: run `pip install 'autoj[deepspeed]'`")
    gpus = torch.cuda.device_count()
    if _has_gpu() and here > gpus:
        raise InputError(f"expected at most {gpus} process(es) on this machine, one for each GPU, got {here}")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@contextmanager
def joined(launch: LaunchSettings) -> Iterator[dict[str, Any]]:
    """Join the other processes; gives the keys of TrainingArguments that shard the model.

    Waits at the start until all processes are there. A model made inside is sharded where the strategy says so; after
    it, each process may load whole models on its own again. Raises as `check_launch` does, and RunError when another
    process ends while this one waits for it.
    """
    check_launch(launch)
    if launch.processes == 1 and launch.strategy == "ddp":
        yield {}
        return
    _join()
    try:
        _meet()
        yield _sharding(launch)
        _meet()
    finally:
        _let_go()


def _join() -> None:
    import torch

    if _has_gpu():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group("cuda:nccl,cpu:gloo", timeout=PATIENCE)
    else:
        torch.distributed.init_process_group("gloo", timeout=PATIENCE)


def _meet() -> None:
    """Wait for all processes. Not `barrier`, which on GPUs keeps a kernel running for as long as it waits."""
    import torch

    try:
        torch.distributed.all_reduce(torch.zeros(1))
    except RuntimeError as error:
        raise RunError("another process of this job has ended; its own message says why") from error


_left: list[Any] = []
"""Groups that were left. DDP's reducer would else hold the last reference: freed with it, gloo waits for its thread
with the interpreter locked, while that thread waits for the interpreter to free the last collective's tensor."""


def _let_go() -> None:
    """Leave the group, and make models load whole again."""
    import torch.distributed as dist
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()
    if dist.is_initialized():
        _left.append(dist.group.WORLD)
        dist.destroy_process_group()


def _sharding(launch: LaunchSettings) -> dict[str, Any]:
    if shards(launch):
        import deepspeed

        # ZeRO-3 shards a model while it is loaded, which is before the trainer would join DeepSpeed.
        deepspeed.init_distributed("nccl" if _has_gpu() else "gloo")
    return sharding_arguments(launch)
