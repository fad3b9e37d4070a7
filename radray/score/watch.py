"""Keep predictions up with an archive that grows: look, score what is new or changed, wait, look again."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from radray import cluster, outages, streaming
from radray.errors import BundleError, ConfigError
from radray.score.counts import summarise
from radray.score.limits import share_allowance
from radray.score.version import Version
from radray.score.versions import finished, made_ids


def watch(version: Version) -> dict[str, Any]:
    """Score `version` again and again until SIGINT or SIGTERM; return the summary of what is there then.

    An archive that cannot be listed, or lists nothing, is looked at again at the next time: rows are taken away only
    when a listing that holds other objects lacks theirs.

    Raises:
        ConfigError: The first look found no archive, or the bundle changed.
    """
    from radray.score.stage import score_once

    cluster.connect()
    summary: dict[str, Any] | None = None
    with _stoppable():
        try:
            allowance = share_allowance(version.config)
            while True:
                summary = _look(version, allowance, summary, score_once)
                time.sleep(version.config.watch_every_s)
        except KeyboardInterrupt:
            print("score: asked to stop; rows that are committed stay", file=sys.stderr, flush=True)
        ray.shutdown()
        return _what_is_there(version, summary)


def _look(version: Version, allowance: Any, last: dict[str, Any] | None, score_once: Any) -> dict[str, Any] | None:
    try:
        summary: dict[str, Any] = outages.bear(version.folder, lambda: score_once(version, allowance, last))
    except BundleError:
        raise
    except (ConfigError, OSError, pa.ArrowInvalid) as error:  # the last two: an index that is being written anew
        if last is None:
            raise
        print(f"score: {error}; looking again in {version.config.watch_every_s:g} s", file=sys.stderr, flush=True)
        return last
    if last is None or summary["scored"] or summary["rows_out"] != last["rows_out"]:
        counts = ", ".join(f"{count:,} {status}" for status, count in summary["by_status"].items())
        print(
            f"score: {summary['scored']:,} scored, {summary['rows_out']:,} rows: {counts}", file=sys.stderr, flush=True
        )
    return {**summary, "scored": summary["scored"] + (last["scored"] if last else 0)}


def _what_is_there(version: Version, last: dict[str, Any] | None) -> dict[str, Any]:
    """Counts of the committed rows: a block that was being written when the signal came is not one of them.

    Where a pass was under way, how many objects are listed and how many it scored is left open.
    """
    streaming.drop_open_rows(version.folder, version.key)
    made = np.sort(made_ids(version.folder, version.key)[0])
    counts = summarise(version.folder, only=made)
    is_idle = last is not None and finished(version.folder) is not None
    return {
        "rows_in": len(made),
        **counts,
        "listed": last["listed"] if last and is_idle else None,
        "scored": last["scored"] if last and is_idle else None,
        "complete": bool(last and is_idle and last["complete"]),
        "stopped": True,
        "bundle": version.bundle.digest,
        "version": version.name,
        "folder": version.folder,
    }


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt once; further ones are taken for impatience and left unheard."""
    heard = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if not heard:
            heard = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
