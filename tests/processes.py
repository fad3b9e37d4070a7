"""Finding and killing what a job started, for tests of what is left afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any


def descendants(pid: int) -> list[int]:
    """`pid` and every process below it, also those in sessions of their own (Ray's)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def kill_tree(process: subprocess.Popen[Any]) -> None:
    """SIGKILL to the driver and everything it started; twice, for what was being started meanwhile."""
    family = descendants(process.pid)
    os.kill(process.pid, signal.SIGSTOP)
    for pid in dict.fromkeys([*descendants(process.pid), *family]):
        if pid != process.pid:
            kill(pid)
    kill(process.pid)
    process.wait()


def kill(pid: int) -> None:
    """SIGKILL, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
