"""The machine and the versions that a measurement was made with."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path


def machine(*packages: str) -> dict[str, str | int]:
    """Processor, cores, GPU where torch is among the packages, Python, and the versions of the packages."""
    found: dict[str, str | int] = {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "memory GiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
    }
    if "torch" in packages:
        import torch

        found["threads"] = torch.get_num_threads()
        found["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return found | {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}


def without_paths(flags: Sequence[str]) -> list[str]:
    """The flags as anybody would write them: places on this machine become FOLDER and PYTHON."""
    names = {"--folder": "FOLDER", "--trl": "FOLDER", "--flow": "FOLDER", "--prometheus": "PYTHON", "--vllm": "PYTHON"}
    return [names.get(before, flag) for before, flag in zip(["", *flags], flags, strict=False)]


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    line = next((line for line in lines if line.startswith("model name")), "")
    return line.partition(":")[2].strip() or platform.processor()
