"""The score stage on Ray: every object of an archive to one row, exactly once."""

from __future__ import annotations

import hashlib
import sys
import time
from typing import Any

import numpy as np
import pyarrow.compute as pc

from radray import cluster, outages, storage, streaming
from radray.errors import ConfigError, Status
from radray.index.manifest import ensure_manifest, renew_manifest
from radray.score.config import ScoreConfig
from radray.score.counts import describe, summarise
from radray.score.csv_export import write_csv
from radray.score.dry_run import NOTHING_CHOSEN, describe_estimate, estimate
from radray.score.limits import Limited, paced_listing, share_allowance
from radray.score.rows import PredictRows, PrepareRows, ScoreRows
from radray.score.selection import Work, read_ids, select_ids, write_part
from radray.score.version import Version, open_version
from radray.score.versions import finished, made_ids, mark_finished, unmark_finished

_FEW = 10
"""Where less than one object in so many is to do, these are copied and read alone."""


def run_score(config: ScoreConfig) -> dict[str, Any]:
    """Score `config.archive` or the objects of `config.index`; print a table, return the summary.

    Raises:
        ConfigError: The bundle cannot be used, the archive cannot be listed or is empty, or nothing in it is chosen,
            or GPUs are asked for that are not there.
    """
    version = open_version(config)
    if config.dry_run:
        found = estimate(version)
        print("\n".join(describe_estimate(found)))
        return found
    if config.gpus_per_worker:
        _gpus_per_worker(config)
    if config.retry_failed:
        drop_failed(version)
    if config.watch:
        from radray.score.watch import watch

        summary = watch(version)
    else:
        allowance = share_allowance(config)
        summary = outages.bear(version.folder, lambda: score_once(version, allowance))
    print("\n".join(describe(summary)))
    return summary


def score_once(version: Version, allowance: Any = None, last: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make the rows that are missing and take away those of objects that are gone or changed; return the summary.

    Args:
        version: What to add to.
        allowance: Of `share_allowance`.
        last: Summary of the run before, of the same process: it stands where the listing has not changed since.

    Raises:
        ConfigError: The archive cannot be listed or is empty, or nothing in it is chosen.
    """
    started = time.monotonic()
    config = version.config
    _wait_for_hours(config)
    source, listing = _source(version)
    before = finished(version.folder)
    if last is not None and before is not None and before["listing"] == listing:
        return {**last, "scored": 0}
    selection = config.selection()
    made, is_tidy = made_ids(version.folder, version.key)
    listed = read_ids(source)
    selected = listed if selection.is_whole else select_ids(source, selection)
    work = Work(listed=listed, selected=selected, made=made, is_tidy=is_tidy)
    if not len(selected) and not config.watch:
        raise ConfigError(NOTHING_CHOSEN)
    scored = len(work.todo)
    if work.is_done and before is not None and before["listing"] == listing:
        print(f"score: nothing to do, all {work.wanted:,} rows are in {version.folder}", file=sys.stderr)
    elif not work.is_done:
        unmark_finished(version.folder)
        _stream(version, work, source, allowance)
    summary = {
        "rows_in": work.wanted,
        **summarise(version.folder),
        "listed": len(listed),
        "scored": scored,
        "complete": work.wanted == len(listed),
        "bundle": version.bundle.digest,
        "version": version.name,
        "folder": version.folder,
    }
    if summary["rows_out"] != work.wanted:
        raise RuntimeError(
            f"{summary['rows_out']} rows are in {version.folder}, not {work.wanted}; run the same command again"
        )
    if config.csv is not None:
        regions, methods = version.bundle.regions.names, [member.method for member in version.bundle.members]
        summary["csv_rows"] = write_csv(version.folder, config.csv, regions=regions, methods=methods)
    rate = scored / (time.monotonic() - started) if scored else None
    mark_finished(config.output, summary, listing=listing, rows_per_s=rate, before=before)
    return summary


def _wait_for_hours(config: ScoreConfig) -> None:
    hours = config.open_hours()
    if hours is not None and (notice := hours.notice()) is not None:
        print(f"score: {notice}", file=sys.stderr, flush=True)
        hours.wait()


def _source(version: Version) -> tuple[str, str]:
    """URL of the rows to score and its digest: the index, or a listing, made again once a run has ended."""
    config = version.config
    if config.index is not None:
        return config.index, _digest_files(config.index)
    if config.archive is None or version.headers is None:
        raise AssertionError("the configuration holds an archive or an index")
    key = version.headers["reader"].pseudonyms.key if config.key == "hash" else None
    with paced_listing(config):
        manifest = ensure_manifest(config.archive, version.workplace, key=key)
        before = finished(version.folder)
        if before is not None and before["listing"] == manifest.digest:
            manifest = renew_manifest(config.archive, version.workplace, manifest, key=key)
    return manifest.url, manifest.digest


def drop_failed(version: Version) -> None:
    """Take the rows of objects that failed away, to score them again: a store or a decoder may be well by now."""
    if not storage.list_files(version.folder, ".parquet"):
        return
    streaming.drop_open_rows(version.folder, version.key)
    failed = storage.read_table(version.folder, ["row_id"], pc.field("status") == Status.FAILED.value)
    if failed.num_rows:
        unmark_finished(version.folder)
        streaming.drop_rows(version.folder, version.key, failed["row_id"].to_numpy())
        print(f"score: {failed.num_rows:,} rows of objects that failed are made again", file=sys.stderr)


def _gpus_per_worker(config: ScoreConfig) -> float:
    """The share that is set, or a whole GPU where there is one that torch can use.

    Raises:
        ConfigError: A share is set, and the cluster has no such GPU.
    """
    cluster.connect()
    share = config.gpus_per_worker
    if share == 0 or (share is None and not cluster.gpus()):
        return 0.0
    if not cluster.gpus():
        raise ConfigError(f"--gpus-per-worker is {share} but the cluster has no GPU; leave it out, or add a node")
    if not cluster.is_gpu_usable():
        if share is None:
            print("score: torch cannot use the cluster's GPUs; CPUs predict", file=sys.stderr)
            return 0.0
        raise ConfigError(f"--gpus-per-worker is {share} but torch cannot use the GPU; set it to 0, or mend the driver")
    return 1.0 if share is None else share


def _digest_files(folder: str) -> str:
    """Digest of the names, sizes and times of a folder's Parquet files."""
    place, digest = storage.locate(folder), hashlib.blake2b(digest_size=16)
    for file in sorted(place.fs.ls(place.path, detail=True), key=lambda file: str(file["name"])):
        if str(file["name"]).endswith(".parquet"):
            facts = [file["name"], file["size"], *(file.get(name) for name in ("mtime", "ETag", "LastModified"))]
            digest.update(repr([str(fact) for fact in facts]).encode())
    return digest.hexdigest()


def _stream(version: Version, work: Work, source: str, allowance: Any) -> None:
    config, hours = version.config, version.config.open_hours()
    whole = len(work.selected) == len(work.listed) and len(work.todo) * _FEW >= len(work.listed)
    gpus = _gpus_per_worker(config)
    prepare = {"cleaning": version.bundle.cleaning, "headers": version.headers}
    predict = {
        "bundle": storage.normalise_url(config.bundle),
        "digest": version.bundle.digest,
        "batch": config.batch,
        "device": "cuda" if gpus else "cpu",
        "precision": config.precision,
    }
    # Without a GPU one process does both: nothing waits, and no image goes from one to another.
    first, given = (PrepareRows, prepare) if gpus else (ScoreRows, {"prepare": prepare, "predict": predict})
    streaming.run(
        streaming.Pass(
            title="score",
            source=source if whole else write_part(source, version.workplace, config.selection(), work.todo),
            within=None if whole else source,
            output=version.folder,
            key=version.key,
            transform=Limited,
            arguments={"transform": first, "arguments": given, "hours": hours, "allowance": allowance},
            then=Limited if gpus else None,
            then_arguments={"transform": PredictRows, "arguments": predict, "hours": None, "allowance": allowance},
            rows_per_block=config.rows_per_block,
            gpus_per_worker=gpus,
            max_workers=config.max_workers,
            pause=None if hours is None else hours.notice,
        )
    )
    if len(lost := np.setdiff1d(work.selected, made_ids(version.folder, version.key)[0])):
        raise RuntimeError(f"{len(lost)} of {len(work.selected)} objects have no row; run the same command again")
