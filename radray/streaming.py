"""One streaming Ray Data pass from a table to a table, with exactly-once rows.

Ray's `CheckpointConfig` commits a data file and the ids of its rows in two phases; a run killed at any moment and
started again with the same arguments goes on with the rows that have no result yet. Added to it:

- The checkpoint lies under a key (a digest of everything the rows depend on), so that rows of another configuration
  or bundle are never taken for finished.
- Ids are read back with pyarrow (`radray.checkpoints`), and finished rows are left out where the source is read: Ray's
  own loading takes a minute, and its filter is one more actor, for which a small machine has no CPU left.
- A source of more than `SHARD_ROWS` rows is passed shard by shard, each with a checkpoint of its own.
- A store that is gone for a while is waited for, and the pass goes on (`radray.outages`).
- The rows are read back and counted at the end.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.data.checkpoint import CheckpointConfig
from ray.data.checkpoint.checkpoint_filter import IdColumnCheckpointManager
from ray.data.expressions import col as ray_column
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from radray import cluster, outages, storage
from radray.checkpoints import ID_COLUMN, Checkpoint, Commits, Ids, data_files, drop_uncommitted, read_ids
from radray.errors import BundleError, ConfigError
from radray.tables import contains

SHARD_ROWS = 1_000_000
"""Rows of the source that share a checkpoint, and about so many ids are held at a time."""
_SAY_PAUSE_S = 1800.0
"""How often the progress line says that the workers wait."""
_TRIES_WITHOUT_ROWS = 3
"""Failures of the store, one after the other and no row between them, before a pass gives up."""
_LOST_NODES = 5
"""How often a pass is begun anew because a node with Ray Data's own actors went."""
_CPUS_BESIDE_GPU = 0.25
_DEATHS = 2
"""Deaths of a process over the same rows, after which they are taken one by one; and over one row, then given up."""
_SAY_TWICE = (
    "ray.data.exceptions",
    "ray.data._internal.execution.streaming_executor_state",
    "ray.data._internal.execution.operators.actor_pool_map_operator",
)
"""Loggers that print the traceback of an error which is raised as well."""
_SAID = re.compile(r"^radray\.errors\.(ConfigError|BundleError): (.+)$", re.MULTILINE)
"""A worker's complaint within the text of Ray's error."""


class _NoFilter(IdColumnCheckpointManager):
    """Has Ray write checkpoints but not read them: `_drop_done` does."""

    def load_checkpoint(self, data_file_dir: str | None = None, data_file_filesystem: Any = None) -> tuple[Any, int]:
        return None, 0


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
    """A class: constructed once per worker with `arguments`, called with a table, returns a table with `row_id`.

    Its method `give_up`, if it has one, is called with a row whose object kills the process, and returns its result.
    """
    arguments: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the transform's constructor."""
    columns: list[str] | None = None
    """Columns of the source that the transform needs."""
    where: tuple[str, str] | None = None
    """(column, value): only rows of the source where they are equal."""
    rows_per_block: int = 64
    """Rows committed together; what a killed run does again at most, for each worker."""
    max_workers: int | None = None
    """Upper bound of the actor pool; None for half the cluster's logical CPUs."""
    then: Callable[..., Any] | None = None
    """A second class of the same kind, called with the first one's tables by workers of its own; None for none."""
    then_arguments: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of its constructor."""
    gpus_per_worker: float = 0.0
    """Share of a GPU for each worker of the last of these classes."""
    redo: tuple[str, str] | None = None
    """(column, value): rows of the output that were judged against others, made again when any row is taken away."""
    within: str | None = None
    """URL of the whole table of which `source` is a part: rows of its other objects that are there already stay."""
    pause: Callable[[], str | None] | None = None
    """Says why the workers wait at this time, for the progress line; None or no text while they do not."""


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """Some files of the source, and where their commits lie."""

    files: tuple[str, ...]
    checkpoint: Checkpoint


def run(step: Pass) -> int:
    """Run `step`; return the number of rows of the source.

    Rows that an earlier run made of objects which the source no longer holds are taken away first.

    Raises:
        ConfigError: The output folder holds rows made under another key; or a store refuses the credentials, or is
            gone for too long: then what is done stays done.
        RuntimeError: The output does not hold exactly the source's rows (a fault of ours, or of the store).
    """
    cluster.connect()
    cluster.drop_lost_trackers()
    for name in _SAY_TWICE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    before, tries, lost = -1, 0, 0
    while True:
        meter = _Meter()
        try:
            return _run(step, meter)
        except Exception as error:
            if said := _SAID.search(str(error)):
                raise {"BundleError": BundleError}.get(said[1], ConfigError)(said[2]) from error
            if isinstance(error, ConfigError):
                raise
            is_node_lost = cluster.drop_lost_trackers() or "ActorUnschedulableError" in f"{type(error).__name__}{error}"
            if is_node_lost and lost < _LOST_NODES:
                lost += 1
                print(f"{step.title}: the cluster lost a node that every job needed; going on", file=sys.stderr)
                continue
            if not outages.is_of_store(error):
                raise
            if outages.refusal(error):
                raise outages.refused(step.output, error) from error
            tries, before = (tries + 1 if meter.done <= before else 1), max(before, meter.done)
            if tries > _TRIES_WITHOUT_ROWS:
                raise
            print(f"{step.title}: the store failed ({_line(error)}); going on when it answers", file=sys.stderr)
        for url in (step.output, step.source):
            outages.await_store(url)


@dataclass
class _Meter:
    """Rows committed as the last look found them."""

    done: int = 0


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[-200:]


def _run(step: Pass, meter: _Meter) -> int:
    source, output = storage.locate(step.source), storage.locate(step.output)
    _refuse_mixture(step, output)
    shards = _shards(step, source, output)
    for shard in shards:
        shard.checkpoint.drop_pending()
    # Rows are held against the whole source: an object may lie in another shard than when its row was made.
    asked = _union([_expected_ids(step, shard, source) for shard in shards])
    wanted = asked if step.within is None else np.union1d(asked, _all_ids(step.within))
    done = _tidy(step, shards, wanted, output)
    meter.done = len(done)
    for number, shard in enumerate(shards):
        expected = _expected_ids(step, shard, source)
        made = expected[contains(done, expected)]
        if len(made) < len(expected):
            title = step.title if len(shards) == 1 else f"{step.title} {number + 1}/{len(shards)}"
            if len(made):
                print(f"{title}: {len(made):,} of {len(expected):,} rows are there already, going on", file=sys.stderr)
            _stream(step, title, shard, source, output, made, len(expected))
            shard.checkpoint.drop_pending()
    done = _tidy(step, shards, wanted, output)
    _verify(step, output, done, asked if step.within is None else np.union1d(asked, done))
    return len(asked)


def _tidy(step: Pass, shards: list[_Shard], wanted: Ids, output: storage.Location) -> Ids:
    """Take away what is no row of `wanted` or is there twice, and what was not committed; the sorted ids that are left.

    All shards are tidied before any of them makes rows.
    """
    present: set[str] = set()
    done = np.empty(0, np.int64)
    for shard in shards:
        commits = shard.checkpoint.read()
        if len(commits):
            commits = _drop_stale(step, shard, commits, wanted, done, output)
        done = np.union1d(done, commits.ids)
        present |= commits.present()
    drop_uncommitted(present, output.path, output.arrow)
    return done


def _union(parts: list[Ids]) -> Ids:
    return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))


def _shards(step: Pass, source: storage.Location, output: storage.Location) -> list[_Shard]:
    """The source's files in runs of `SHARD_ROWS` rows; the first checkpoint lies where an unsplit source's does."""
    folder = storage.join(output.path, "_checkpoint", step.key)
    paths = [storage.locate(url).path for url in storage.list_files(source.url, ".parquet")]
    if not paths:
        raise ConfigError(f"{step.source}: no Parquet files are there; run the stage that writes them first")
    groups: list[list[str]] = [[]]
    rows = 0
    for path, more in zip(paths, _row_counts(paths, source), strict=True):
        if groups[-1] and rows + more > SHARD_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(path)
        rows += more
    first = Checkpoint(folder, output.path, output.arrow)
    others = _shard_folders(folder, output)
    if len(groups) > 1 and not others and len(first.read()) > SHARD_ROWS:
        groups = [paths]  # it was begun in one piece
    while len(groups) < len(others) + 1:
        groups.append([])  # of a source that was longer: its rows go
    return [
        _Shard(
            files=tuple(group),
            checkpoint=Checkpoint(f"{folder}/shard-{number:05d}" if number else folder, output.path, output.arrow),
        )
        for number, group in enumerate(groups)
    ]


def committed_ids(url: str, key: str) -> tuple[Ids, bool]:
    """What is committed under `key` in the folder `url`, of all shards; nothing is changed.

    Returns:
        The sorted ids whose files of rows are there; whether each is there once, and no file stands alone.
    """
    output = storage.locate(url)
    held = set(data_files(output.arrow, output.path))
    ids, stems = [np.empty(0, np.int64)], set[str]()
    lost = False
    for each in _checkpoints(url, key):
        commits = each.read(compact=False)
        there = commits.of(held)
        lost = lost or not there.all()
        ids.append(commits.ids[there])
        stems |= commits.present()
    found = np.sort(np.concatenate(ids))
    is_once = bool((found[1:] != found[:-1]).all())
    return np.unique(found), is_once and not lost and held <= stems


def drop_rows(url: str, key: str, gone: Ids) -> None:
    """Take the committed rows of some ids away."""
    for each in _checkpoints(url, key):
        commits = each.read()
        if len(commits) and (hit := np.isin(commits.ids, gone)).any():
            each.remove_rows(commits, hit)
    drop_open_rows(url, key)


def drop_open_rows(url: str, key: str) -> None:
    """Delete from the folder `url` what a killed run wrote and did not commit."""
    committed: set[str] = set()
    for each in _checkpoints(url, key):
        each.drop_pending()
        committed |= each.read().present()
    output = storage.locate(url)
    drop_uncommitted(committed, output.path, output.arrow)


def _checkpoints(url: str, key: str) -> list[Checkpoint]:
    output = storage.locate(url)
    folder = storage.join(output.path, "_checkpoint", key)
    return [Checkpoint(each, output.path, output.arrow) for each in (folder, *_shard_folders(folder, output))]


def _all_ids(url: str) -> Ids:
    place = storage.locate(url)
    return np.sort(read_ids(place.arrow, [storage.locate(file).path for file in storage.list_files(url, ".parquet")]))


def _row_counts(paths: list[str], source: storage.Location) -> list[int]:
    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(lambda path: _footer(path, source).num_rows, paths))


def _footer(path: str, source: storage.Location) -> Any:
    with parquet.ParquetFile(path, filesystem=source.arrow) as file:
        return file.metadata


def _shard_folders(folder: str, output: storage.Location) -> list[str]:
    from pyarrow.fs import FileSelector, FileType

    entries = output.arrow.get_file_info(FileSelector(folder, recursive=False, allow_not_found=True))
    return [entry.path for entry in entries if entry.type == FileType.Directory]


def _refuse_mixture(step: Pass, output: storage.Location) -> None:
    from pyarrow.fs import FileSelector

    folder = storage.join(output.path, "_checkpoint")
    entries = output.arrow.get_file_info(FileSelector(folder, recursive=False, allow_not_found=True))
    if others := [entry.base_name for entry in entries if entry.base_name != step.key]:
        raise ConfigError(
            f"--output {step.output} holds rows of another configuration or input ({others[0]}, now {step.key}); "
            "choose another folder, or delete this one"
        )


def _expected_ids(step: Pass, shard: _Shard, source: storage.Location) -> Ids:
    """The sorted ids of a shard's rows that are wanted."""
    if step.where is None:
        return np.sort(read_ids(source.arrow, list(shard.files)))
    column, value = step.where
    return np.sort(read_ids(source.arrow, list(shard.files), where=pc.field(column) == value))


def _drop_stale(
    step: Pass, shard: _Shard, commits: Commits, wanted: Ids, elsewhere: Ids, output: storage.Location
) -> Commits:
    """Take committed rows away that are not wanted, lost with their data file, or there twice; return those left.

    Lost rows are made again. So is one of two that two runs at a time, or a worker that outlived its run, made of one
    object: the first stays.
    """
    held = set(data_files(output.arrow, output.path)) if len(commits) else set()
    lost = ~commits.of(held)
    stale = ~contains(wanted, commits.ids)
    again = commits.repeated() & ~lost
    again |= contains(elsewhere, commits.ids)
    if not (lost | stale | again).any():
        return commits
    if count := int((stale & ~lost).sum()):
        print(f"{step.title}: {count:,} rows of objects that are gone or changed are taken away", file=sys.stderr)
    if count := int(lost.sum()):
        print(f"{step.title}: {count:,} rows that are no longer in the output are made again", file=sys.stderr)
    gone = lost | stale | again
    if step.redo is not None and storage.list_files(step.output, ".parquet"):
        judged = storage.read_table(step.output, [ID_COLUMN], pc.field(step.redo[0]) == step.redo[1])
        gone |= np.isin(commits.ids, judged.column(ID_COLUMN).to_numpy())
    return shard.checkpoint.remove_rows(commits, gone)


def _stream(
    step: Pass, title: str, shard: _Shard, source: storage.Location, output: storage.Location, done: Ids, total: int
) -> None:
    context = DataContext.get_current().copy()
    context.checkpoint_config = CheckpointConfig(
        id_column=ID_COLUMN,
        checkpoint_path=shard.checkpoint.folder,
        override_filesystem=output.arrow,
        delete_checkpoint_on_success=False,
        checkpoint_manager_cls=_NoFilter,
    )
    # The newer reader starts 32 processes to read the footers of a few small files: a minute on two cores.
    context.use_datasource_v2 = False
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_rich_progress_bars = False
    context.issue_detectors_config.detectors = []  # they say that torch takes memory
    with DataContext.current(context):
        _write(step, title, list(shard.files), source, output, done, total)


def _write(
    step: Pass,
    title: str,
    files: list[str],
    source: storage.Location,
    output: storage.Location,
    done: Ids,
    total: int,
) -> None:
    logical = cluster.cpus()
    share = 1.0 if logical >= 4 else logical / 8
    left = total - len(done)
    workers = max(1, min(int(logical / 2), step.max_workers or sys.maxsize, -(-left // step.rows_per_block)))
    columns = None if step.columns is None else sorted({*step.columns, ID_COLUMN})
    # It stays with this process: another node may be taken away.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    counter = _Counter.options(num_cpus=0, scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    rows = ray.data.read_parquet(files, filesystem=source.arrow, num_cpus=share)
    if columns is not None:
        rows = rows.select_columns(columns)
    if step.where is not None:
        rows = rows.filter(expr=ray_column(step.where[0]) == step.where[1])
    if len(done):
        rows = rows.map_batches(
            _drop_done, batch_format="pyarrow", batch_size=None, num_cpus=share, fn_kwargs={"done": ray.put(done)}
        )
    # Strict, or Ray takes the filter before and the transform behind into one task: blocks are as they are read then.
    rows = rows.repartition(target_num_rows_per_block=step.rows_per_block, strict=True)
    stages = [(step.transform, step.arguments)]
    if step.then is not None:
        stages.append((step.then, step.then_arguments))
    for number, (transform, arguments) in enumerate(stages):
        is_last = number == len(stages) - 1
        on_gpu = is_last and step.gpus_per_worker > 0
        places = cluster.gpu_places(step.gpus_per_worker) if on_gpu else workers
        rows = rows.map_batches(
            _Counted,
            batch_format="pyarrow",
            # A block as it comes; for GPUs Ray wants to be told how many rows that is.
            batch_size=step.rows_per_block if on_gpu else None,
            compute=ActorPoolStrategy(min_size=1, max_size=max(1, places)),
            fn_constructor_kwargs={
                "transform": transform,
                "arguments": arguments,
                "counter": counter,
                "stage": number,
                "is_last": is_last,
            },
            # Beside decoders a GPU's worker waits for its GPU and for blocks.
            num_cpus=min(share, _CPUS_BESIDE_GPU) if on_gpu and number else share,
            num_gpus=step.gpus_per_worker if on_gpu else None,
        )
    with _ProgressLine(title, counter, total, len(done), pause=step.pause):
        rows.write_parquet(output.path, filesystem=output.arrow, ray_remote_args={"num_cpus": share})


def _drop_done(rows: Any, done: Any = None) -> Any:
    """The rows whose ids are not in `done`, a sorted array in the object store."""
    finished: Ids = ray.get(done) if isinstance(done, ray.ObjectRef) else done
    return rows.filter(pa.array(~contains(finished, rows.column(ID_COLUMN).to_numpy())))


def _verify(step: Pass, output: storage.Location, done: Ids, expected: Ids) -> None:
    found = np.sort(
        read_ids(output.arrow, [path for paths in data_files(output.arrow, output.path).values() for path in paths])
    )
    for ids in (done, found):
        if not np.array_equal(ids, expected):
            missing, again = np.setdiff1d(expected, ids).size, len(ids) - len(np.unique(ids))
            raise RuntimeError(
                f"{step.title}: {missing} of {len(expected)} rows have no result in {step.output}, {again} have two; "
                "run the same command again"
            )


@ray.remote(max_restarts=-1, max_task_retries=-1)
class _Counter:
    """Rows that went through the transform in this run (at least once each), what became of them, what is worked on."""

    def __init__(self) -> None:
        self.rows = 0
        self.statuses: dict[str, int] = {}
        self.begun: dict[tuple[int, int, int], int] = {}

    def begin(self, stage: int, first: int, rows: int) -> int:
        """How often a stage has begun and not ended so many rows from this one on, this time included."""
        place = (stage, first, rows)
        self.begun[place] = self.begun.get(place, 0) + 1
        return self.begun[place]

    def end(self, stage: int, first: int, rows: int) -> None:
        self.begun.pop((stage, first, rows), None)

    def add(self, rows: int, statuses: dict[str, int]) -> None:
        self.rows += rows
        for status, count in statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count

    def total(self) -> tuple[int, dict[str, int]]:
        return self.rows, self.statuses


class _Counted:
    """The transform, and what to do about rows that kill its process: Ray alone would start it anew for ever."""

    def __init__(
        self, transform: Callable[..., Any], arguments: dict[str, Any], counter: Any, stage: int, is_last: bool
    ) -> None:
        self._transform = transform(**arguments)
        self._counter, self._stage, self._is_last = counter, stage, is_last

    def __call__(self, rows: pa.Table) -> pa.Table:
        if not rows.num_rows:
            return self._transform(rows)
        if hasattr(self._transform, "wait"):
            self._transform.wait()  # a worker that is lost while it waits has not died over these rows
        if self._begin(rows) > _DEATHS:
            result = pa.concat_tables([self._alone(rows.slice(place, 1)) for place in range(rows.num_rows)])
        else:
            result = self._transform(rows)
        if result.num_rows != rows.num_rows:
            raise RuntimeError(f"{rows.num_rows} rows went in, {result.num_rows} came out")
        if self._is_last:
            statuses = count_by(result, "status") if "status" in result.column_names else {}
            self._counter.add.remote(rows.num_rows, statuses)
        self._end(rows)
        return result

    def _alone(self, row: pa.Table) -> pa.Table:
        if self._begin(row, alone=True) > _DEATHS:
            if not hasattr(self._transform, "give_up"):
                raise RuntimeError(f"the row {row.column(ID_COLUMN)[0]} of the source kills the process that reads it")
            result = self._transform.give_up(row)
        else:
            result = self._transform(row)
        ray.get(self._end(row, alone=True))
        return result

    def _begin(self, rows: pa.Table, *, alone: bool = False) -> int:
        begun: int = ray.get(self._counter.begin.remote(*self._place(rows, alone)))
        return begun

    def _end(self, rows: pa.Table, *, alone: bool = False) -> Any:
        return self._counter.end.remote(*self._place(rows, alone))

    def _place(self, rows: pa.Table, alone: bool) -> tuple[int, int, int]:
        """A block of one row is begun as a block first, then as a row alone."""
        return self._stage, rows.column(ID_COLUMN)[0].as_py(), 0 if alone else rows.num_rows


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
        try:
            fresh, statuses = ray.get(self._counter.total.remote(), timeout=self._every_s)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            return  # it is being started anew, or the machine is busy; the rows do not need it
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
