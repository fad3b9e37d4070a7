"""The index stage on Ray: listing to manifest, then one streaming pass of ranged header reads."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from typing import Any

import pyarrow.dataset as dataset

from radray import storage, streaming
from radray.dicom.header import HeaderReader
from radray.dicom.identity import Pseudonyms
from radray.index.config import IndexConfig
from radray.index.headers import ReadHeaders
from radray.index.labels import parse_labels
from radray.index.manifest import ensure_manifest, renew_manifest
from radray.regions import load_regions
from radray.version import __version__

_FINISHED = "_manifest/indexed.json"
UNKNOWN = "unknown"
"""Counts radiographs without a label."""


def run_index(config: IndexConfig) -> dict[str, Any]:
    """Index `config.archive`; return the summary.

    Raises:
        ConfigError: See `IndexConfig.check`; or the output folder belongs to another run.
    """
    regions, pseudonyms = load_regions(config.regions), Pseudonyms(config.secret())
    key = pseudonyms.key if config.key == "hash" else None
    manifest = ensure_manifest(config.archive, config.output, key=key)
    finished = storage.join(config.output, _FINISHED)
    if storage.exists(finished) and storage.read_json(finished)["manifest"] == manifest.digest:
        manifest = renew_manifest(config.archive, config.output, manifest, key=key)
    settings = {name: value for name, value in asdict(config).items() if name not in ("output", "patient_key")}
    settings |= {"version": __version__, "secret": pseudonyms.of("check", "")[:16]}
    settings["regions"] = [asdict(region) for region in regions.regions]
    step = streaming.Pass(
        title="index",
        source=manifest.url,
        output=config.output,
        key=hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16).hexdigest(),
        transform=ReadHeaders,
        arguments={
            "reader": HeaderReader(regions=regions, pseudonyms=pseudonyms, rule=config.rule()),
            "labels": parse_labels(config.labels, config.archive, regions),
            "header_bytes": config.header_bytes,
            "hash_keys": config.key == "hash",
        },
        rows_per_block=256,
    )
    streaming.run(step)
    storage.write_json(finished, {"manifest": manifest.digest, "objects": manifest.objects})
    return {"stage": "index", "rows_in": manifest.objects, **summarise(config.output)}


def summarise(output: str) -> dict[str, Any]:
    """Count the rows of an index by status, reason and label, batch by batch."""
    place = storage.locate(output)
    files = [storage.locate(url).path for url in storage.list_files(output, ".parquet")]
    columns = ["status", "reason", "label", "label_source"]
    counts: dict[str, Counter[str]] = {name: Counter() for name in columns}
    rows = 0
    for batch in dataset.dataset(files, filesystem=place.arrow, format="parquet").to_batches(columns=columns):
        rows += batch.num_rows
        for row in batch.to_pylist():
            counts["status"][row["status"]] += 1
            if row["reason"]:
                counts["reason"][row["reason"]] += 1
            if row["status"] == "ok":
                counts["label"][row["label"] or UNKNOWN] += 1
                counts["label_source"][row["label_source"] or UNKNOWN] += 1
    return {
        "rows_out": rows,
        "by_status": dict(counts["status"].most_common()),
        "by_reason": dict(counts["reason"].most_common()),
        "labels": dict(counts["label"].most_common()),
        "label_sources": dict(counts["label_source"].most_common()),
    }
