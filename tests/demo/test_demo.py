"""The whole way once, as the job runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT


def run_demo(output: Path) -> dict[str, object]:
    """The last line of a tiny demo's standard output."""
    options = ["--images", "200", "--archive-px", "192", "--epochs", "1", "--seeds", "1", "--budgets", "2"]
    command = [sys.executable, str(CHECKOUT / "jobs" / "demo.py"), "--output", str(output), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False, cwd=output.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    summary: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return summary


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_every_stage_runs_and_a_second_run_gives_the_same(tmp_path: Path) -> None:
    first = run_demo(tmp_path / "one")
    assert first["rows_in"] == first["rows_out"] == 200
    assert sum(first["by_status"].values()) == 200  # type: ignore[attr-defined]
    assert set(first["accuracy"]) == {"simclr", "byol", "supcon", "supervised", "ensemble"}  # type: ignore[call-overload]
    assert set(first["accuracy"]["ensemble"]) == {"2", "all"}  # type: ignore[index]
    page = (tmp_path / "one" / "report.html").read_text()
    assert "Not a medical device" in page and 'src="http' not in page
    stages = first["stages"]
    for name in ("index", "clean", "score"):
        assert stages[name]["rows_in"] == stages[name]["rows_out"], name  # type: ignore[index]
    second = run_demo(tmp_path / "two")
    assert second["accuracy"] == first["accuracy"] and second["label_errors"] == first["label_errors"]
