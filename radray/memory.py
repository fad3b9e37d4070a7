"""Memory that a process frees and needs again at once."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
_KEPT_BYTES = 1 << 30
_OWN_CHOICE = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Have the C library keep up to 1 GiB of what is freed, so that the next batch need not ask the system for it.

    Networks on a CPU free and allocate tens of MiB in each layer. By default glibc gives so much back to the system
    each time, which then fills every page with zeros anew: a third of the time that EfficientNet-Lite0 takes at 128 px,
    a quarter of that of its training. The process stays as large as it was at its largest.

    Returns:
        Whether it was done: not without glibc, and not where the environment has its own `MALLOC_…` settings.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _OWN_CHOICE):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(parameter, _KEPT_BYTES) == 1 for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
