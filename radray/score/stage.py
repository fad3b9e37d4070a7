"""The score stage on Ray: every object of an archive to one row, exactly once."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import pyarrow.compute as pc

from radray import storage, streaming
from radray.dicom.header import HeaderReader
from radray.dicom.identity import Pseudonyms
from radray.ensemble import Bundle
from radray.index.labels import parse_labels
from radray.index.manifest import ensure_manifest
from radray.score.config import ScoreConfig
from radray.score.rows import ScoreRows
from radray.score.versions import mark_latest, version_folder
from radray.version import __version__


def run_score(config: ScoreConfig) -> dict[str, Any]:
    """Score `config.archive` or the objects of `config.index`; return the summary.

    Raises:
        ConfigError: The bundle cannot be used, or the archive cannot be listed or is empty.
    """
    bundle = Bundle.load(config.bundle, device="cpu")
    headers = _header_arguments(config, bundle)
    key = _key(config, bundle, headers)
    folder = version_folder(config.output, key)
    source = _source(config, folder, headers)
    before = len(storage.list_files(folder, ".parquet")) if storage.exists(folder) else 0
    rows_in = streaming.run(
        streaming.Pass(
            title="score",
            source=source,
            output=folder,
            key=key,
            transform=ScoreRows,
            arguments={
                "bundle": storage.normalise_url(config.bundle),
                "digest": bundle.digest,
                "headers": headers,
                "batch": config.batch,
                "device": "cuda" if config.gpus_per_worker else "cpu",
            },
            rows_per_block=config.rows_per_block,
            gpus_per_worker=config.gpus_per_worker,
            max_workers=config.max_workers,
        )
    )
    if before and before == len(storage.list_files(folder, ".parquet")):
        print(f"score: nothing to do, all {rows_in:,} rows are in {folder}", file=sys.stderr)
    mark_latest(config.output, folder, bundle.digest, rows_in)
    return {"rows_in": rows_in, **summarise(folder), "bundle": bundle.digest, "folder": folder}


def _source(config: ScoreConfig, folder: str, headers: dict[str, Any] | None) -> str:
    """URL of the rows to score: the index, or a listing of the archive."""
    if config.index is not None:
        return config.index
    if config.archive is None or headers is None:
        raise AssertionError("the configuration holds an archive or an index")
    key = headers["reader"].pseudonyms.key if config.key == "hash" else None
    return ensure_manifest(config.archive, folder, key=key).url


def _header_arguments(config: ScoreConfig, bundle: Bundle) -> dict[str, Any] | None:
    """How workers read headers of a listing; None for an index, where that is done."""
    if config.archive is None:
        return None
    rules = config.header_rules()
    return {
        "reader": HeaderReader(regions=bundle.regions, pseudonyms=Pseudonyms(rules.secret()), rule=rules.rule()),
        "labels": parse_labels(config.labels, config.archive, bundle.regions),
        "header_bytes": rules.header_bytes,
        "hash_keys": config.key == "hash",
    }


def _key(config: ScoreConfig, bundle: Bundle, headers: dict[str, Any] | None) -> str:
    """Digest of all that rows depend on but the objects themselves."""
    settings = {
        "bundle": bundle.digest,
        "version": __version__,
        "source": storage.normalise_url(config.archive or config.index or ""),
    }
    if headers is not None:
        settings |= {
            "labels": config.labels,
            "key": config.key,
            "patients": headers["reader"].pseudonyms.of("check", "")[:16],
        }
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16).hexdigest()


def summarise(folder: str) -> dict[str, Any]:
    """Counts of one version of predictions."""
    table = storage.read_table(folder, columns=["status", "reason", "region", "abstained", "agrees"])
    return {
        "rows_out": table.num_rows,
        "by_status": streaming.count_by(table, "status"),
        "by_reason": streaming.count_by(table, "reason"),
        "by_region": streaming.count_by(table, "region"),
        "abstained": pc.sum(table["abstained"]).as_py() or 0,
        "disagreements": pc.sum(pc.invert(table["agrees"])).as_py() or 0,
    }
