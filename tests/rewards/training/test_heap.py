"""Memory that is freed in a training is used again, and given back after it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be asked")

SCRIPT = """
import json, resource
from pathlib import Path
import torch
from rewards.training.heap import freed_memory_kept

MIB = 1 << 20

def new_pages(size):
    # MiB of fresh pages that writing to a tensor of `size` MiB takes, after the same was done before.
    for _ in range(10):  # it need not be the same gap of the heap each time
        torch.ones(size * MIB, dtype=torch.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(size * MIB, dtype=torch.uint8)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() // MIB

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // MIB

found = {"before": new_pages(64)}
with freed_memory_kept():
    found["inside"] = new_pages(64)
    held = resident()
found["given back"] = held - resident()
found["after"] = new_pages(1024)  # more than any gap that was left in the heap
print(json.dumps(found))
"""


def test_freed_memory_is_used_again_inside_and_given_back_after() -> None:
    # A process of its own: in one that has run other tests, the heap has gaps of its own.
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["before"] > 32
    assert found["inside"] < 8
    assert found["given back"] > 32
    assert found["after"] > 32
