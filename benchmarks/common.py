"""What every benchmark prints last: one line of JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from typing import Any

from radray.version import __version__


def result(
    value: float, goal: float | None = None, baseline: float | None = None, *, least: bool = True
) -> dict[str, Any]:
    """A metric: its value, the goal, what it is held against, and whether the goal is met.

    Args:
        value: Measured.
        goal: None where there is none.
        baseline: The baseline's own figure.
        least: Whether the goal is the least value allowed; else it is the most.
    """
    met = None if goal is None else bool(value >= goal if least else value <= goal)
    return {"value": value, "goal": goal, "baseline": baseline, "met": met}


def print_results(benchmark: str, packages: tuple[str, ...], results: dict[str, dict[str, Any]]) -> None:
    """Print {benchmark, machine, versions, results} as one line."""
    versions = {"radray": __version__} | {name: importlib.metadata.version(name) for name in packages}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps({"benchmark": benchmark, "machine": machine, "versions": versions, "results": results}))
