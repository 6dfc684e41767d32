"""The machine that a judge runs on: in words, and as the devices whose hours a job takes."""

from __future__ import annotations

import os
import platform

from rewards.judges.config import JudgeSettings


def machine_of(settings: JudgeSettings) -> str:
    """Where the judge ran, as far as this process can tell."""
    here = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if settings.backend == "endpoint":
        return f"a server asked from {here}, {settings.endpoint.concurrency} requests at once"
    if settings.backend == "vllm":
        import torch

        engine = f"vLLM on {settings.vllm.tensor_parallel_size} x"
        return f"{engine} {torch.cuda.get_device_name()}, {here}" if torch.cuda.is_available() else f"vLLM on {here}"
    if settings.backend == "transformers":
        import torch

        if torch.cuda.is_available():
            return f"{torch.cuda.get_device_name()}, batches of {settings.batch_size}, {here}"
        return f"{here}, {torch.get_num_threads()} threads, batches of {settings.batch_size}"
    return here


def devices_of(settings: JudgeSettings) -> tuple[int | None, str]:
    """How many devices the judge occupies, and what they are; None for a server, behind which nobody can see."""
    if settings.backend == "endpoint":
        return None, "GPU"
    if settings.backend == "scripted":
        return 1, "core"
    import torch

    if settings.backend == "vllm" and torch.cuda.is_available():
        return settings.vllm.tensor_parallel_size, "GPU"
    return (1, "GPU") if torch.cuda.is_available() else (torch.get_num_threads(), "core")
