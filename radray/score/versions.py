"""Predictions of several bundles side by side, and which are the newest.

    predictions/
      latest.json            {"folder": "version=3f0c…", "bundle": digest, "rows": n, "complete": true}
      version=3f0c…/         Parquet of one bundle and configuration; _SUCCESS with counts once a run has ended
      version=91ab…/         of another

A version's folder reads as it is: `pandas.read_parquet`, `ray.data.read_parquet`, `spark.read.parquet`. All of them
read as one table in which `version` is a column: `read_parquet('predictions/*/*.parquet')` in DuckDB,
`predictions/version=*` in Spark. `latest_predictions` gives the newest alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from radray import storage
from radray.errors import ConfigError

LATEST = "latest.json"
SUCCESS = "_SUCCESS"


def version_folder(output: str, key: str) -> str:
    """Where rows made under `key` lie."""
    return storage.join(output, f"version={key[:12]}")


def made_ids(folder: str, key: str) -> tuple[np.ndarray[Any, np.dtype[np.int64]], bool]:
    """Sorted row_ids of the rows that are there and committed; whether none is there twice or stands alone."""
    from radray import streaming

    return streaming.committed_ids(folder, key)


def finished(folder: str) -> dict[str, Any] | None:
    """What `_SUCCESS` of a version says; None while a run of it has not ended."""
    place = storage.join(folder, SUCCESS)
    return dict(storage.read_json(place)) if storage.exists(place) else None


def unmark_finished(folder: str) -> None:
    """Take `_SUCCESS` away, before any row changes."""
    storage.remove(storage.join(folder, SUCCESS))


def mark_finished(
    output: str, summary: dict[str, Any], *, listing: str, rows_per_s: float | None, before: dict[str, Any] | None
) -> None:
    """Name the version that a finished run made, then write its `_SUCCESS`, the last file of a run.

    A part of an archive (--where, --sample, --limit) becomes the newest only where that does not hide a whole one.

    Args:
        output: URL that holds the versions.
        summary: Of the run.
        listing: Digest of the listing, or of the index's files.
        rows_per_s: Speed of this run; None where it made no row.
        before: What `_SUCCESS` said before this run.
    """
    place = storage.join(output, LATEST)
    latest = storage.read_json(place) if storage.exists(place) else {}
    if summary["complete"] or not latest.get("complete", bool(latest)) or latest["folder"] == summary["version"]:
        facts = {"folder": summary["version"], "bundle": summary["bundle"], "rows": summary["rows_out"]}
        storage.write_json(place, {**facts, "complete": summary["complete"]})
    rate = round(rows_per_s, 2) if rows_per_s else (before or {}).get("rows_per_s")
    facts = {name: summary[name] for name in ("version", "bundle", "complete", "by_status", "by_reason", "abstained")}
    facts |= {"rows": summary["rows_out"], "objects": summary["listed"], "listing": listing, "rows_per_s": rate}
    if before is None or facts != {name: before.get(name) for name in facts}:
        facts |= {"finished": datetime.now(UTC).isoformat(timespec="seconds")}
        storage.write_json(storage.join(summary["folder"], SUCCESS), facts)


def measured_rate(output: str) -> float | None:
    """Rows a second of the last run below `output` that made any, start-up included; None without one."""
    found = [facts for folder in storage.list_files(output) if "/version=" in folder and (facts := finished(folder))]
    rates = [(facts["finished"], facts["rows_per_s"]) for facts in found if facts.get("rows_per_s")]
    return float(max(rates)[1]) if rates else None


def latest_predictions(url: str) -> str:
    """URL of the folder of Parquet files to read: the newest finished version below `url`, or `url` itself.

    Raises:
        ConfigError: No predictions are there.
    """
    if storage.list_files(url, ".parquet"):
        return storage.normalise_url(url)
    place = storage.join(url, LATEST)
    if not storage.exists(place):
        raise ConfigError(f"{url}: no finished predictions are there; run jobs/score.py to its end")
    return storage.join(storage.normalise_url(url), str(storage.read_json(place)["folder"]))
