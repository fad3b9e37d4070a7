"""One streaming pass: every row once, also when everything is killed midway; no mixing of configurations."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from radray import storage, streaming
from radray.errors import ConfigError
from radray.tables import row_id
from tests.processes import kill_tree

pytestmark = pytest.mark.timeout(600)
ROWS = 60
CHECKOUT = Path(__file__).resolve().parents[1]


class Double:
    """Adds a column; slow enough to be killed in the middle of a run."""

    def __init__(self, seconds_per_row: float = 0.0, drop_last: bool = False) -> None:
        self.seconds_per_row, self.drop_last = seconds_per_row, drop_last

    def __call__(self, rows: pa.Table) -> pa.Table:
        time.sleep(self.seconds_per_row * rows.num_rows)
        if self.drop_last:
            rows = rows.slice(0, rows.num_rows - 1)
        doubled = [2 * number for number in rows.column("number").to_pylist()]
        return rows.append_column("doubled", pa.array(doubled, pa.int64()))


def write_source(url: str) -> None:
    """Three files of rows, every third of them not wanted."""
    uris = [f"object {number}" for number in range(ROWS)]
    table = pa.table(
        {
            "row_id": pa.array([row_id(uri) for uri in uris], pa.int64()),
            "number": pa.array(range(ROWS), pa.int64()),
            "status": ["failed" if number % 3 == 0 else "ok" for number in range(ROWS)],
            "unread": ["x" * 100] * ROWS,
        }
    )
    for part in range(3):
        storage.write_table(storage.join(url, f"{part}.parquet"), table.slice(part * ROWS // 3, ROWS // 3))


def a_pass(store: str, key: str = "key1", **changes: object) -> streaming.Pass:
    settings: dict[str, object] = {
        "title": "double",
        "source": storage.join(store, "source"),
        "output": storage.join(store, "output"),
        "key": key,
        "transform": Double,
        "columns": ["number"],
        "rows_per_block": 8,
        "max_workers": 1,
    }
    return streaming.Pass(**{**settings, **changes})  # type: ignore[arg-type]


def assert_every_row_once(output: str, numbers: list[int]) -> None:
    rows = storage.read_table(output).to_pylist()
    assert Counter(row["number"] for row in rows) == Counter(numbers)
    assert all(row["doubled"] == 2 * row["number"] for row in rows)
    assert all(row["row_id"] == row_id(f"object {row['number']}") for row in rows)


@pytest.mark.usefixtures("ray_cluster")
def test_rows_in_are_rows_out_and_a_second_run_adds_none(store: str) -> None:
    write_source(storage.join(store, "source"))
    assert streaming.run(a_pass(store)) == ROWS
    assert_every_row_once(storage.join(store, "output"), list(range(ROWS)))
    files = storage.list_files(storage.join(store, "output"))
    assert streaming.run(a_pass(store)) == ROWS
    assert storage.list_files(storage.join(store, "output")) == files
    with pytest.raises(ConfigError, match=r"--output .*another configuration or input \(key1, now key2\)"):
        streaming.run(a_pass(store, key="key2"))


@pytest.mark.usefixtures("ray_cluster")
def test_rows_of_objects_that_are_gone_are_taken_away(store: str) -> None:
    source, output = storage.join(store, "source"), storage.join(store, "output")
    write_source(source)
    step = a_pass(store, columns=["number", "status"], redo=("status", "failed"))
    assert streaming.run(step) == ROWS
    gone = storage.join(source, "1.parquet")
    held = storage.read_table(gone)
    storage.write_table(gone, held.slice(5))
    assert streaming.run(step) == ROWS - 5
    kept = [number for number in range(ROWS) if not 20 <= number < 25]
    assert_every_row_once(output, kept)
    # They come back unchanged: their rows are made again, not taken for finished.
    storage.write_table(gone, held)
    assert streaming.run(step) == ROWS
    assert_every_row_once(output, list(range(ROWS)))


@pytest.mark.usefixtures("ray_cluster")
def test_rows_whose_file_is_lost_are_made_again(tmp_path: Path) -> None:
    store = str(tmp_path)
    write_source(storage.join(store, "source"))
    streaming.run(a_pass(store))
    output = storage.join(store, "output")
    storage.remove(storage.list_files(output, ".parquet")[1])
    assert streaming.run(a_pass(store)) == ROWS
    assert_every_row_once(output, list(range(ROWS)))


def test_a_commit_cut_between_copy_and_deletion_keeps_its_rows(store: str) -> None:
    ids = pa.table({"row_id": pa.array([1], pa.int64())})
    checkpoint = storage.join(store, "_checkpoint", "key")
    for stem, pending in (("both", True), ("both", False), ("open", True), ("done", False)):
        storage.write_table(storage.join(checkpoint, f"{stem}{'.pending' if pending else ''}.parquet"), ids)
        storage.write_table(storage.join(store, f"{stem}_000000.parquet"), ids)
    place = storage.locate(store)
    streaming.drop_uncommitted(storage.locate(checkpoint).path, place.path, place.arrow)
    names = {url.rsplit("/", 1)[-1] for url in storage.list_files(store, ".parquet")}
    assert names == {"both_000000.parquet", "done_000000.parquet"}
    assert [url.rsplit("/", 1)[-1] for url in storage.list_files(checkpoint, ".parquet")] == [
        "both.parquet",
        "done.parquet",
    ]


@pytest.mark.usefixtures("ray_cluster")
def test_where_selects_rows(tmp_path: Path) -> None:
    store = str(tmp_path)
    write_source(storage.join(store, "source"))
    wanted = [number for number in range(ROWS) if number % 3]
    assert streaming.run(a_pass(store, where=("status", "ok"), columns=["number", "status"])) == len(wanted)
    assert_every_row_once(storage.join(store, "output"), wanted)


@pytest.mark.usefixtures("ray_cluster")
def test_a_transform_that_loses_rows_stops_the_run(tmp_path: Path) -> None:
    write_source(str(tmp_path / "source"))
    with pytest.raises(Exception, match=r"[0-9]+ rows went in, [0-9]+ came out"):
        streaming.run(a_pass(str(tmp_path), arguments={"drop_last": True}))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find the processes to kill")
@pytest.mark.usefixtures("s3_server")
@pytest.mark.timeout(900)
def test_rows_come_out_exactly_once_after_a_kill(store: str, tmp_path: Path) -> None:
    write_source(storage.join(store, "source"))
    output, log = storage.join(store, "output"), tmp_path / "driver.log"
    with driver(store, seconds_per_row=0.5, log=log) as first:
        deadline = time.monotonic() + 400
        while len(storage.list_files(output, ".parquet")) < 2:
            assert first.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
    committed = storage.read_table(output).num_rows
    assert 0 < committed < ROWS, "killed in the middle"
    with driver(store, seconds_per_row=0.0, log=log) as second:
        assert second.wait(timeout=400) == 0, log.read_text()
    assert_every_row_once(output, list(range(ROWS)))
    assert "rows are there already, going on" in log.read_text()


@contextmanager
def driver(store: str, *, seconds_per_row: float, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A driver with a Ray cluster of its own; killed with all that belongs to it at the end of the block."""
    script = Path(__file__).with_name("streaming_driver.py")
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, str(script), store, str(seconds_per_row)],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                kill_tree(process)
