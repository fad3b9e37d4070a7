"""The job as a process: watching until a signal, killed midway and started again, held to a limit all the while."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from radray import storage
from tests.processes import kill_tree
from tests.score.small_archive import write_archive, write_bundle, write_dicom

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CHECKOUT = Path(__file__).resolve().parents[2]
WAIT_S = 240


@contextmanager
def scoring(place: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The job on `place`/archive; killed with all that belongs to it at the end of the block."""
    command = [sys.executable, "jobs/score.py", "--archive", str(place / "archive"), "--bundle", str(place / "bundle")]
    command += ["--output", str(place / "predictions"), "--patient-key", "none", "--rows-per-block", "2", *options]
    with (place / "log").open("a") as log:
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                kill_tree(process)
            if process.stdout is not None:
                process.stdout.close()


def wait_until(met: Callable[[], bool], place: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while not met():
        assert time.monotonic() < deadline, (place / "log").read_text()
        time.sleep(0.2)


def success(place: Path) -> dict[str, Any]:
    found = list((place / "predictions").glob("version=*/_SUCCESS"))
    return json.loads(found[0].read_text()) if found else {"rows": None}


def rows_there(place: Path) -> list[str]:
    files = [str(file) for file in (place / "predictions").glob("version=*/*.parquet")]
    return [row["uri"] for file in files for row in storage.read_table(file, columns=["uri"]).to_pylist()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_watching_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    write_archive(tmp_path / "archive")
    write_bundle(str(tmp_path / "bundle"))
    with scoring(tmp_path, "--watch", "--watch-every-s", "0.5") as job:
        wait_until(lambda: success(tmp_path)["rows"] == 8, tmp_path)
        write_dicom(tmp_path / "archive" / "new.dcm", 9, "HAND")
        wait_until(lambda: success(tmp_path)["rows"] == 9, tmp_path)
        (tmp_path / "archive" / "notes.txt").unlink()
        wait_until(lambda: success(tmp_path)["rows"] == 8, tmp_path)
        shutil.move(tmp_path / "archive", tmp_path / "away")
        time.sleep(2)
        assert success(tmp_path)["rows"] == 8, "an archive that is away is not an empty one"
        shutil.move(tmp_path / "away", tmp_path / "archive")
        job.send_signal(number)
        text, _ = job.communicate(timeout=60)
        assert job.returncode == 0, (tmp_path / "log").read_text()
    summary = json.loads(text.splitlines()[-1])
    assert (summary["rows_in"], summary["rows_out"], summary["scored"]) == (8, 8, 9)
    assert summary["stopped"] and summary["complete"]
    assert summary == storage.read_json(str(tmp_path / "predictions" / "summary.json"))
    assert sorted(Path(uri).name for uri in rows_there(tmp_path)) == sorted(
        path.name for path in (tmp_path / "archive").rglob("*") if path.is_file()
    )


def test_a_signal_in_the_middle_and_a_kill_lose_and_double_nothing(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    for one in range(24):
        write_dicom(tmp_path / "archive" / f"{one}.dcm", one, "KNEE")
    write_bundle(str(tmp_path / "bundle"))
    slow = ("--max-requests-per-s", "4")
    with scoring(tmp_path, *slow, "--watch") as job:
        wait_until(lambda: len(rows_there(tmp_path)) >= 4, tmp_path)
        job.send_signal(signal.SIGTERM)
        text, _ = job.communicate(timeout=60)
        assert job.returncode == 0, (tmp_path / "log").read_text()
    stopped = json.loads(text.splitlines()[-1])
    assert stopped["listed"] is None and not stopped["complete"]
    assert stopped["rows_in"] == stopped["rows_out"] == len(rows_there(tmp_path)) < 24
    assert success(tmp_path)["rows"] is None, "no _SUCCESS before the end"
    with scoring(tmp_path, *slow, "--limit", "18") as job:
        wait_until(lambda: len(rows_there(tmp_path)) > stopped["rows_out"], tmp_path)
        kill_tree(job)
    assert success(tmp_path)["rows"] is None
    with scoring(tmp_path) as job:
        text, _ = job.communicate(timeout=WAIT_S)
        assert job.returncode == 0, (tmp_path / "log").read_text()
    summary = json.loads(text.splitlines()[-1])
    assert summary["rows_in"] == summary["rows_out"] == 24 and summary["scored"] < 24
    assert sorted(rows_there(tmp_path)) == sorted(str(tmp_path / "archive" / f"{one}.dcm") for one in range(24))
    assert pd.read_parquet(summary["folder"])["row_id"].is_unique
