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

import numpy as np
import pyarrow as pa
import pytest

from radray import storage, streaming
from radray.checkpoints import Checkpoint, Commits, drop_uncommitted
from radray.errors import BundleError, ConfigError
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


class Counting:
    """Adds how many tables it has seen, to what `Double` gave."""

    def __init__(self, start: int) -> None:
        self.seen = start

    def __call__(self, rows: pa.Table) -> pa.Table:
        assert rows.column("doubled").to_pylist() == [2 * number for number in rows.column("number").to_pylist()]
        rows = rows.append_column("counted", pa.array([self.seen] * rows.num_rows, pa.int64()))
        self.seen += 1
        return rows


class Mortal(Double):
    """Dies over one number."""

    def __call__(self, rows: pa.Table) -> pa.Table:
        if 17 in rows.column("number").to_pylist():
            os._exit(1)
        return super().__call__(rows)


class Unlucky(Double):
    """Is killed twice over one number, by no fault of the row's."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.deaths = Path(folder)

    def __call__(self, rows: pa.Table) -> pa.Table:
        if 17 in rows.column("number").to_pylist() and len(list(self.deaths.iterdir())) < 2:
            (self.deaths / str(os.getpid())).touch()
            os._exit(1)
        return super().__call__(rows)


class Refused(Double):
    """Cannot use what it is given."""

    def __init__(self) -> None:
        raise BundleError("the bundle changed")


class Resigned(Mortal):
    """Has an answer for it."""

    def give_up(self, rows: pa.Table) -> pa.Table:
        return rows.append_column("doubled", pa.array([34], pa.int64()))


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


def checkpoint_of(store: str) -> Checkpoint:
    place = storage.locate(store)
    return Checkpoint(storage.locate(storage.join(store, "_checkpoint", "key")).path, place.path, place.arrow)


def write_commit(store: str, stem: str, ids: list[int], *, pending: bool = False) -> None:
    table = pa.table({"row_id": pa.array(ids, pa.int64())})
    storage.write_table(storage.join(store, "_checkpoint", "key", f"{stem}{'.pending' * pending}.parquet"), table)
    storage.write_table(storage.join(store, f"{stem}-0.parquet"), table)


def names(store: str, *below: str) -> set[str]:
    return {url.rsplit("/", 1)[-1] for url in storage.list_files(storage.join(store, *below), ".parquet")}


def test_a_commit_cut_between_copy_and_deletion_keeps_its_rows(store: str) -> None:
    write_commit(store, "both", [1])
    write_commit(store, "both", [1], pending=True)
    write_commit(store, "open", [2], pending=True)
    write_commit(store, "done", [3])
    checkpoint = checkpoint_of(store)
    checkpoint.drop_pending()
    commits = checkpoint.read()
    place = storage.locate(store)
    drop_uncommitted(commits.present(), place.path, place.arrow)
    assert names(store) == {"both-0.parquet", "done-0.parquet"}
    assert sorted(commits.ids) == [1, 3]


def test_checkpoints_are_compacted_and_a_cut_compaction_counts_no_row_twice(store: str) -> None:
    for number in range(5):
        write_commit(store, f"w_{number}", [10 * number, 10 * number + 1])
    checkpoint = checkpoint_of(store)
    first = checkpoint.read()
    assert names(store, "_checkpoint", "key") == {"compacted-000001.parquet"}
    # Killed before the small files were deleted; and one more was committed since.
    write_commit(store, "w_3", [30, 31])
    write_commit(store, "w_9", [90])
    again = checkpoint.read()
    assert sorted(again.ids) == [*sorted(first.ids), 90]
    assert names(store, "_checkpoint", "key") == {"compacted-000002.parquet"}
    assert again.present() == {*first.present(), "w_9"}
    assert sorted(again.ids[again.of({"w_3", "w_9"})]) == [30, 31, 90]


def test_rows_go_out_of_checkpoint_and_data_at_one_moment(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write_commit(store, f"w_{number}", [10 * number, 10 * number + 1])
    checkpoint, place = checkpoint_of(store), storage.locate(store)
    commits = checkpoint.read()
    with monkeypatch.context() as patch:  # killed just before the checkpoint is written
        patch.setattr(Checkpoint, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            checkpoint.remove_rows(commits, commits.ids == 11)
    drop_uncommitted(checkpoint.read().present(), place.path, place.arrow)
    assert rows_there(store) == [0, 1, 10, 11, 20, 21]
    left = checkpoint.remove_rows(commits, np.isin(commits.ids, [11, 20, 21]))
    drop_uncommitted(left.present(), place.path, place.arrow)
    assert rows_there(store) == [0, 1, 10]
    assert len(names(store)) == 2


def rows_there(store: str) -> list[int]:
    return sorted(storage.read_table(store).column("row_id").to_pylist())


def test_a_commit_that_comes_while_others_are_compacted_stays(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write_commit(store, f"w_{number}", [10 * number, 10 * number + 1])
    checkpoint = checkpoint_of(store)
    before = names(store)
    assert len(checkpoint.read(compact=False)) == 6
    assert names(store) == before, "a look changes nothing"
    written = Checkpoint.write

    def write_late(self: Checkpoint, commits: Commits) -> Commits:
        write_commit(store, "late", [77])
        return written(self, commits)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write", write_late)
        assert len(checkpoint.read()) == 6
    assert sorted(checkpoint.read().ids) == [0, 1, 10, 11, 20, 21, 77]


def test_what_is_there_twice_or_cut_is_not_tidy(tmp_path: Path) -> None:
    folder = str(tmp_path)
    place = storage.locate(folder)
    commit = Checkpoint(str(tmp_path / "_checkpoint" / "key"), place.path, place.arrow)

    def add(stem: str, ids: list[int]) -> None:
        table = pa.table({"row_id": pa.array(ids, pa.int64())})
        storage.write_table(storage.join(folder, f"{stem}-0.parquet"), table)
        storage.write_table(storage.join(commit.folder, f"{stem}.parquet"), table)

    add("a", [1, 2])
    ids, is_tidy = streaming.committed_ids(folder, "key")
    assert list(ids) == [1, 2] and is_tidy
    add("b", [2, 3])
    ids, is_tidy = streaming.committed_ids(folder, "key")
    assert list(ids) == [1, 2, 3] and not is_tidy
    (tmp_path / "b-0.parquet").unlink()
    assert not streaming.committed_ids(folder, "key")[1], "a commit without rows"
    (tmp_path / "_checkpoint" / "key" / "b.parquet").unlink()
    (tmp_path / "c-0.parquet").write_bytes(b"PAR1cut")
    ids, is_tidy = streaming.committed_ids(folder, "key")
    assert list(ids) == [1, 2] and not is_tidy, "rows without commit, cut in the middle"


@pytest.mark.usefixtures("ray_cluster")
def test_a_data_file_that_was_cut_is_made_again(tmp_path: Path) -> None:
    write_source(str(tmp_path / "source"))
    assert streaming.run(a_pass(str(tmp_path))) == ROWS
    (tmp_path / "output" / "orphan_000000-0.parquet").write_bytes(b"PAR1cut")
    write_source(str(tmp_path / "source"))
    assert streaming.run(a_pass(str(tmp_path))) == ROWS
    assert_every_row_once(str(tmp_path / "output"), list(range(ROWS)))


@pytest.mark.usefixtures("ray_cluster")
def test_what_a_worker_says_keeps_its_kind(tmp_path: Path) -> None:
    write_source(str(tmp_path / "source"))
    with pytest.raises(BundleError, match="^the bundle changed$"):
        streaming.run(a_pass(str(tmp_path), transform=Refused))


@pytest.mark.usefixtures("ray_cluster")
def test_a_writer_that_outlived_its_run_adds_no_row(tmp_path: Path) -> None:
    store = str(tmp_path)
    write_source(storage.join(store, "source"))
    streaming.run(a_pass(store))
    output = storage.join(store, "output")
    files = storage.list_files(output, ".parquet")
    twin = storage.read_table(files[0])
    storage.write_table(storage.join(output, "orphan_000000-0.parquet"), twin)
    storage.write_table(storage.join(output, "second_000000-0.parquet"), twin)
    commit = storage.join(output, "_checkpoint", "key1", "second_000000.parquet")
    storage.write_table(commit, twin.select(["row_id"]))
    assert streaming.run(a_pass(store)) == ROWS
    assert_every_row_once(output, list(range(ROWS)))


@pytest.mark.usefixtures("ray_cluster")
def test_shards_have_a_checkpoint_each_and_grow_and_shrink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SHARD_ROWS", 25)  # three files of 20 rows: three shards
    store = str(tmp_path)
    source, output = storage.join(store, "source"), storage.join(store, "output")
    write_source(source)
    assert streaming.run(a_pass(store)) == ROWS
    assert_every_row_once(output, list(range(ROWS)))
    checkpoint = tmp_path / "output" / "_checkpoint" / "key1"
    assert sorted(path.name for path in checkpoint.iterdir() if path.is_dir()) == ["shard-00001", "shard-00002"]
    assert len(list(checkpoint.glob("*.parquet"))) == 1
    # The middle file goes: the last one's rows move a shard forward, and none is left behind or doubled.
    middle = storage.join(source, "1.parquet")
    held = storage.read_table(middle)
    storage.remove(middle)
    assert streaming.run(a_pass(store)) == ROWS - 20
    assert_every_row_once(output, [*range(20), *range(40, 60)])
    storage.write_table(middle, held)
    assert streaming.run(a_pass(store)) == ROWS
    assert_every_row_once(output, list(range(ROWS)))
    # Borders move, objects do not: what is there stays as it is.
    files = storage.list_files(output, ".parquet")
    for number in (2, 1, 0):
        Path(source, f"{number}.parquet").rename(Path(source, f"{number + 1}.parquet"))
    more = pa.table({name: held.column(name) for name in held.column_names}).slice(0, 5)
    ids = pa.array([row_id(f"object {number}") for number in range(60, 65)], pa.int64())
    more = more.set_column(more.schema.get_field_index("row_id"), "row_id", ids)
    more = more.set_column(more.schema.get_field_index("number"), "number", pa.array(range(60, 65), pa.int64()))
    storage.write_table(storage.join(source, "0.parquet"), more)
    assert streaming.run(a_pass(store)) == ROWS + 5
    assert_every_row_once(output, list(range(ROWS + 5)))
    assert set(files) <= set(storage.list_files(output, ".parquet"))


@pytest.mark.usefixtures("ray_cluster")
def test_a_checkpoint_begun_in_one_piece_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = str(tmp_path)
    write_source(storage.join(store, "source"))
    streaming.run(a_pass(store))
    files = storage.list_files(storage.join(store, "output"), ".parquet")
    monkeypatch.setattr(streaming, "SHARD_ROWS", 25)
    assert streaming.run(a_pass(store)) == ROWS
    assert storage.list_files(storage.join(store, "output"), ".parquet") == files


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


@pytest.mark.usefixtures("ray_cluster")
def test_a_resumed_run_commits_as_few_rows_together_as_a_fresh_one(tmp_path: Path) -> None:
    source, output = str(tmp_path / "source"), str(tmp_path / "output")
    write_source(source)
    step = a_pass(str(tmp_path))
    streaming.run(step)
    first = set(storage.list_files(output, ".parquet"))
    held = storage.read_table(storage.join(source, "2.parquet"))
    more = [f"object {number}" for number in range(ROWS, ROWS + 50)]
    added = pa.table(
        {
            "row_id": pa.array([row_id(uri) for uri in more], pa.int64()),
            "number": pa.array(range(ROWS, ROWS + 50), pa.int64()),
            "status": ["ok"] * 50,
            "unread": ["x"] * 50,
        }
    )
    storage.write_table(storage.join(source, "2.parquet"), pa.concat_tables([held, added]))
    streaming.run(step)
    assert_every_row_once(output, list(range(ROWS + 50)))
    fresh = [storage.read_table(file).num_rows for file in set(storage.list_files(output, ".parquet")) - first]
    assert sum(fresh) == 50 and max(fresh) <= step.rows_per_block, fresh


@pytest.mark.usefixtures("ray_cluster")
def test_a_second_class_gets_the_rows_of_the_first(tmp_path: Path) -> None:
    write_source(str(tmp_path / "source"))
    step = a_pass(str(tmp_path), then=Counting, then_arguments={"start": 5})
    assert streaming.run(step) == ROWS
    assert_every_row_once(str(tmp_path / "output"), list(range(ROWS)))
    counted = storage.read_table(str(tmp_path / "output")).column("counted").to_pylist()
    assert min(counted) == 5 and len(counted) == ROWS


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_row_that_kills_its_worker_is_given_up_and_no_other(tmp_path: Path) -> None:
    write_source(str(tmp_path / "source"))
    assert streaming.run(a_pass(str(tmp_path), transform=Resigned)) == ROWS
    assert_every_row_once(str(tmp_path / "output"), list(range(ROWS)))
    write_source(str(tmp_path / "other" / "source"))
    with pytest.raises(Exception, match=f"row {row_id('object 17')} of the source kills the process"):
        streaming.run(a_pass(str(tmp_path / "other"), transform=Mortal))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_row_that_saw_two_deaths_is_tried_alone(tmp_path: Path) -> None:
    write_source(str(tmp_path / "source"))
    (tmp_path / "deaths").mkdir()
    arguments = {"folder": str(tmp_path / "deaths")}
    step = a_pass(str(tmp_path), transform=Unlucky, arguments=arguments, rows_per_block=1)
    assert streaming.run(step) == ROWS
    assert_every_row_once(str(tmp_path / "output"), list(range(ROWS)))
    assert len(list((tmp_path / "deaths").iterdir())) == 2


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
    assert storage.read_table(output).column("counted").null_count == 0, "each went through the second class"
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
