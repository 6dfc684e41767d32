"""Memory that is freed in a training is used again, and given back after it."""

from __future__ import annotations

import platform
import resource
from pathlib import Path

import pytest
import torch

from rewards.training.heap import freed_memory_kept

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be asked")
MIB = 1 << 20


def new_pages() -> int:
    """MiB of fresh pages that writing to a tensor of 64 MiB takes, after the same was done before."""
    for _ in range(10):  # it need not be the same gap of the heap each time
        torch.ones(64 * MIB, dtype=torch.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 * MIB, dtype=torch.uint8)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() // MIB


def resident() -> int:
    """MiB of this process in memory."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize() // MIB


def test_freed_memory_is_used_again_inside_and_given_back_after() -> None:
    assert new_pages() > 32
    with freed_memory_kept():
        assert new_pages() < 8
        held = resident()
    assert held - resident() > 32
    assert new_pages() > 32
