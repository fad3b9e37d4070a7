"""One streaming Ray Data pass from a table to a table, with exactly-once rows.

Ray's `CheckpointConfig` commits a data file and the ids of its rows in two phases; a run killed at any moment and
started again with the same arguments goes on with the rows that have no result yet. Three things are added to it:
the checkpoint lies under a key (a digest of everything the rows depend on), so that rows of another configuration
or bundle are never taken for finished; ids are read back with pyarrow, not by a Ray job of their own; and the row
count is checked at the end.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as dataset
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.data.checkpoint import CheckpointConfig
from ray.data.checkpoint.checkpoint_filter import IdColumnCheckpointManager
from ray.data.checkpoint.checkpoint_writer import PENDING_CHECKPOINT_SUFFIX
from ray.data.expressions import col as ray_column

from radray import cluster, storage
from radray.errors import ConfigError

ID_COLUMN = "row_id"
_SAY_PAUSE_S = 1800.0
"""How often the progress line says that the workers wait."""
_Ids = np.ndarray[Any, np.dtype[np.int64]]


class _PyarrowCheckpointManager(IdColumnCheckpointManager):
    """Reads committed ids with pyarrow; what was not committed is gone already (`drop_uncommitted`)."""

    def load_checkpoint(self, data_file_dir: str | None = None, data_file_filesystem: Any = None) -> tuple[Any, int]:
        ids = committed_ids(self.checkpoint_path_unwrapped, self.filesystem)
        if not len(ids):
            return None, 0
        return ray.put(ids), ids.nbytes


def drop_uncommitted(checkpoint: str, data_dir: str, filesystem: Any) -> None:
    """Delete the data files whose checkpoint is still pending, then the pending checkpoints.

    A store of objects commits by a copy and a deletion. A run killed between the two leaves both checkpoints: the data
    is committed then, and stays.
    """
    suffix = f"{PENDING_CHECKPOINT_SUFFIX}.parquet"
    found = _files(filesystem, checkpoint)
    pending = [path for path in found if path.endswith(suffix)]
    committed = {path for path in found if not path.endswith(suffix)}
    open_ones = [path for path in pending if f"{path.removesuffix(suffix)}.parquet" not in committed]
    stems = tuple(path.rsplit("/", 1)[-1].removesuffix(suffix) for path in open_ones)
    for path in _files(filesystem, data_dir) if stems else ():
        if path.rsplit("/", 1)[-1].startswith(stems):
            filesystem.delete_file(path)
    for path in pending:
        filesystem.delete_file(path)


def _files(filesystem: Any, folder: str) -> list[str]:
    from pyarrow.fs import FileSelector, FileType

    entries = filesystem.get_file_info(FileSelector(folder, recursive=False, allow_not_found=True))
    return [entry.path for entry in entries if entry.type == FileType.File]


def committed_ids(folder: str, filesystem: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The sorted ids of all rows committed in the checkpoint `folder`."""
    suffix = f"{PENDING_CHECKPOINT_SUFFIX}.parquet"
    files = [path for path in _files(filesystem, folder) if path.endswith(".parquet") and not path.endswith(suffix)]
    if not files:
        return np.empty(0, np.int64)
    ids = dataset.dataset(files, filesystem=filesystem, format="parquet").to_table(columns=[ID_COLUMN])
    return np.sort(ids.column(ID_COLUMN).to_numpy())


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass: every row of `source` through `transform` into `output`."""

    title: str
    """What the progress line calls it."""
    source: str
    """URL of a folder of Parquet files; they must hold `row_id`."""
    output: str
    """URL of the folder that gets the Parquet files."""
    key: str
    """Digest of all that the rows depend on; names the checkpoint."""
    transform: Callable[..., Any]
    """A class: constructed once per worker with `arguments`, called with a table, returns a table with `row_id`."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the transform's constructor."""
    columns: list[str] | None = None
    """Columns of the source that the transform needs."""
    where: tuple[str, str] | None = None
    """(column, value): only rows of the source where they are equal."""
    rows_per_block: int = 64
    """Rows committed together; what a killed run does again at most, for each worker."""
    gpus_per_worker: float = 0.0
    """Share of a GPU for each worker."""
    max_workers: int | None = None
    """Upper bound of the actor pool; None for half the cluster's logical CPUs."""
    within: str | None = None
    """URL of the whole table of which `source` is a part: rows of its other objects that are there already stay."""
    pause: Callable[[], str | None] | None = None
    """Says why the workers wait at this time, for the progress line; None or no text while they do not."""
    redo: tuple[str, str] | None = None
    """(column, value): rows of the output that were judged against others, made again when any row is taken away."""


def run(step: Pass) -> int:
    """Run `step`; return the number of rows of the source.

    Rows that an earlier run made of objects which the source no longer holds are taken away first.

    Raises:
        ConfigError: The output folder holds rows made under another key.
        RuntimeError: The output does not hold exactly the source's rows (a fault of ours, or of the store).
    """
    source, output = storage.locate(step.source), storage.locate(step.output)
    _refuse_mixture(step, output)
    cluster.connect()
    expected = _expected_ids(step)
    checkpoint = storage.join(output.path, "_checkpoint", step.key)
    drop_uncommitted(checkpoint, output.path, output.arrow)  # a killed writer may leave half a file
    known = expected if step.within is None else np.union1d(expected, _ids(step.within))
    committed = _drop_stale(step, committed_ids(checkpoint, output.arrow), known)
    done = np.isin(committed, expected).sum()
    if done < len(expected):
        if done:
            print(f"{step.title}: {done:,} of {len(expected):,} rows are there already, going on", file=sys.stderr)
        context = DataContext.get_current().copy()
        context.checkpoint_config = CheckpointConfig(
            id_column=ID_COLUMN,
            checkpoint_path=checkpoint,
            override_filesystem=output.arrow,
            delete_checkpoint_on_success=False,
            checkpoint_manager_cls=_PyarrowCheckpointManager,
        )
        # The newer reader starts 32 processes to read the footers of a few small files: a minute on two cores.
        context.use_datasource_v2 = False
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.enable_rich_progress_bars = False
        with DataContext.current(context):
            _stream(step, source, output, len(expected), int(done))
    _verify(step, checkpoint, output, expected if step.within is None else np.union1d(expected, committed))
    return len(expected)


def _refuse_mixture(step: Pass, output: storage.Location) -> None:
    from pyarrow.fs import FileSelector

    folder = storage.join(output.path, "_checkpoint")
    entries = output.arrow.get_file_info(FileSelector(folder, recursive=False, allow_not_found=True))
    if others := [entry.base_name for entry in entries if entry.base_name != step.key]:
        raise ConfigError(
            f"--output {step.output} holds rows of another configuration or input ({others[0]}, now {step.key}); "
            "choose another folder, or delete this one"
        )


def _expected_ids(step: Pass) -> np.ndarray[Any, np.dtype[np.int64]]:
    where = None if step.where is None else pc.field(step.where[0]) == step.where[1]
    return np.sort(_ids(step.source, where))


def _drop_stale(step: Pass, committed: _Ids, expected: _Ids) -> _Ids:
    """Take rows out of the checkpoint and out of the output whose ids are not expected; return the ids still committed.

    Ids that are committed but have no row, as after a data file was deleted, leave the checkpoint too and are made
    again. The checkpoint comes first: a run killed in between finds the rows again, and a row without a checkpoint is
    stale or made again, never kept twice.
    """
    rows = storage.list_files(step.output, ".parquet")
    held = _ids(step.output) if rows else committed[:0]
    stale, lost = np.setdiff1d(np.concatenate([committed, held]), expected), np.setdiff1d(committed, held)
    if not len(stale) and not len(lost):
        return committed
    if step.redo is not None and rows:
        stale = np.union1d(stale, _ids(step.output, pc.field(step.redo[0]) == step.redo[1]))
    if len(stale):
        print(f"{step.title}: {len(stale):,} rows of objects that are gone or changed are taken away", file=sys.stderr)
    if len(lost):
        print(f"{step.title}: {len(lost):,} rows that are no longer in the output are made again", file=sys.stderr)
    gone = np.union1d(stale, lost)
    commits = storage.list_files(storage.join(step.output, "_checkpoint", step.key), ".parquet")
    for file, wrong in [(file, gone) for file in commits] + [(file, stale) for file in rows]:
        keep = ~np.isin(_ids(file), wrong)
        if not keep.any():
            storage.remove(file)
        elif not keep.all():
            storage.write_table(file, storage.read_table(file).filter(pa.array(keep)))
    return committed[~np.isin(committed, gone)]


def _ids(url: str, where: pc.Expression | None = None) -> _Ids:
    ids: _Ids = storage.read_table(url, columns=[ID_COLUMN], filter=where).column(ID_COLUMN).to_numpy()
    return ids


def _stream(step: Pass, source: storage.Location, output: storage.Location, total: int, done: int) -> None:
    logical = cluster.cpus()
    share = 1.0 if logical >= 4 else logical / 8
    workers = max(1, min(int(logical / 2), step.max_workers or sys.maxsize, -(-total // step.rows_per_block)))
    files = [storage.locate(url).path for url in storage.list_files(source.url, ".parquet")]
    columns = None if step.columns is None else sorted({*step.columns, ID_COLUMN})
    counter = _Counter.options(num_cpus=0).remote()  # type: ignore[attr-defined]
    rows = ray.data.read_parquet(files, filesystem=source.arrow, num_cpus=share)
    if columns is not None:
        rows = rows.select_columns(columns)
    if step.where is not None:
        rows = rows.filter(expr=ray_column(step.where[0]) == step.where[1])
    rows = rows.repartition(target_num_rows_per_block=step.rows_per_block).map_batches(
        _Counted,
        batch_format="pyarrow",
        batch_size=None,
        compute=ActorPoolStrategy(min_size=1, max_size=workers),
        fn_constructor_kwargs={"transform": step.transform, "arguments": step.arguments, "counter": counter},
        num_cpus=share,
        num_gpus=step.gpus_per_worker or None,
    )
    with _ProgressLine(step.title, counter, total, done, pause=step.pause):
        rows.write_parquet(output.path, filesystem=output.arrow, ray_remote_args={"num_cpus": share})


def _verify(step: Pass, checkpoint: str, output: storage.Location, expected: np.ndarray[Any, Any]) -> None:
    for ids in (committed_ids(checkpoint, output.arrow), np.sort(_ids(step.output))):
        if not np.array_equal(ids, expected):
            missing, again = np.setdiff1d(expected, ids).size, len(ids) - len(np.unique(ids))
            raise RuntimeError(
                f"{step.title}: {missing} of {len(expected)} rows have no result in {step.output}, {again} have two; "
                "run the same command again"
            )


@ray.remote
class _Counter:
    """Rows that went through the transform in this run (at least once each), and what became of them."""

    def __init__(self) -> None:
        self.rows = 0
        self.statuses: dict[str, int] = {}

    def add(self, rows: int, statuses: dict[str, int]) -> None:
        self.rows += rows
        for status, count in statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count

    def total(self) -> tuple[int, dict[str, int]]:
        return self.rows, self.statuses


class _Counted:
    def __init__(self, transform: Callable[..., Any], arguments: dict[str, Any], counter: Any) -> None:
        self._transform = transform(**arguments)
        self._counter = counter

    def __call__(self, rows: pa.Table) -> pa.Table:
        result = self._transform(rows)
        if result.num_rows != rows.num_rows:
            raise RuntimeError(f"{rows.num_rows} rows went in, {result.num_rows} came out")
        statuses = count_by(result, "status") if "status" in result.column_names else {}
        self._counter.add.remote(rows.num_rows, statuses)
        return result


class _ProgressLine:
    """Prints rows, rate, time to go and counts by status to standard error every few seconds."""

    def __init__(
        self,
        title: str,
        counter: Any,
        total: int,
        done: int,
        *,
        every_s: float = 5.0,
        pause: Callable[[], str | None] | None = None,
    ) -> None:
        self._title, self._counter, self._total, self._done, self._every_s = title, counter, total, done, every_s
        self._pause, self._paused_s, self._said = pause, 0.0, -_SAY_PAUSE_S
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._started = time.monotonic()
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        if exc[0] is None:
            self._print(final=True)

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            if reason := self._pause() if self._pause is not None else None:
                self._paused_s += self._every_s
                if time.monotonic() - self._said >= _SAY_PAUSE_S:
                    self._said = time.monotonic()
                    print(f"{self._title}: {reason}", file=sys.stderr, flush=True)
            else:
                self._print()

    def _print(self, final: bool = False) -> None:
        fresh, statuses = ray.get(self._counter.total.remote())
        seconds = max(1e-3, time.monotonic() - self._started - self._paused_s)
        rate = fresh / seconds
        left = max(0, self._total - self._done - fresh) / rate if rate else float("inf")
        ahead = f"in {seconds:.0f} s" if final else f"ETA {left:.0f} s" if rate else "starting"
        rows = self._total if final else min(self._total, self._done + fresh)
        counts = " · " + ", ".join(f"{count:,} {status}" for status, count in statuses.items()) if statuses else ""
        print(
            f"{self._title}: {rows:,} of {self._total:,} rows · {rate:.1f} rows/s · {ahead}{counts}",
            file=sys.stderr,
            flush=True,
        )


def count_by(table: pa.Table, column: str) -> dict[str, int]:
    """How often each value of `column` stands in `table`, most frequent first; nulls left out."""
    counts = pc.value_counts(pc.drop_null(table.column(column))).to_pylist()
    return {str(item["values"]): item["counts"] for item in sorted(counts, key=lambda item: -item["counts"])}
