"""Memory that a training on the CPU frees stays with the process, for the next step to use.

Design decision. A step frees gigabytes of activations and gradients and asks for as much again. The C library gives
every large block back to the kernel at once, and the kernel first fills each page of a new one with zeros: about a
tenth of the time of fully tuning a small model. So while a training runs, the allocator is asked to keep what it
has; PyTorch does the same with the memory of a GPU. Only glibc can be asked; elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt(3)."""
KEPT = {MMAP_MAX: 0, TRIM_THRESHOLD: -1}
DEFAULTS = {MMAP_MAX: 65536, TRIM_THRESHOLD: 128 * 1024}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, freed memory is kept; afterwards it is given back. Holds for the whole process."""
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    try:
        _set(library, KEPT)
        yield
    finally:
        _set(library, DEFAULTS)
        library.malloc_trim(0)


def _set(library: ctypes.CDLL, values: dict[int, int]) -> None:
    for name, value in values.items():
        library.mallopt(name, value)
