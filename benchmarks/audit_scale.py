"""The whole audit on an archive of any size with random features: time and memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from common import result

from radray import storage, tables
from radray.regions import load_regions

DIMENSION = 512
ROWS_PER_FILE = 50_000
SIDE_PX = 32
NOISE = 0.03
BLANK, ONE_PATIENT = 0.01, 0.005
"""Shares of images with one and the same perceptual hash, and of one patient (a phantom of the physicists)."""
REGIONS = load_regions("skeletal14")


def write_archive(place: Path, count: int) -> list[str]:
    """Tables as the stages before the audit leave them; the audit's arguments."""
    images, predictions, probe = (str(place / name) for name in ("images", "predictions", "probe"))
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(len(REGIONS), DIMENSION)).astype(np.float32)
    pictures = [rng.integers(0, 255, (SIDE_PX, SIDE_PX), np.uint8).tobytes() for _ in range(64)]
    folds = []
    for number, start in enumerate(range(0, count, ROWS_PER_FILE)):
        rows = min(ROWS_PER_FILE, count - start)
        uris = [f"/archive/{place:09d}.dcm" for place in range(start, start + rows)]
        keys = {"uri": uris, "row_id": [tables.row_id(uri) for uri in uris]}
        true = rng.integers(0, len(REGIONS), rows)
        labels = np.where(rng.random(rows) < NOISE, rng.integers(0, len(REGIONS), rows), true)
        vectors = (centres[true] + 2 * rng.normal(size=(rows, DIMENSION))).astype(np.float16)
        logits = 6 * np.eye(len(REGIONS))[true] + rng.normal(size=(rows, len(REGIONS)))
        probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
        part = f"part-{number:04d}.parquet"
        storage.write_table(storage.join(images, part), _images(keys, labels, pictures, rng))
        known = {"region": true, "probabilities": probabilities, "ood_score": rng.random(rows)}
        storage.write_table(storage.join(predictions, part), _predictions(keys, known))
        table = pa.table({**keys, "simclr": _lists(vectors, pa.float16())})
        storage.write_table(storage.join(probe, "features", "one", part), table)
        folds.append(
            pa.table({**keys, "method": ["ensemble"] * rows, "probabilities": _lists(probabilities, pa.float32())})
        )
    storage.write_table(storage.join(probe, "out_of_fold.parquet"), pa.concat_tables(folds))
    member = {"folder": "one", "column": "simclr", "run": "random", "saw_labels": False}
    storage.write_json(storage.join(probe, "features", "members.json"), {"simclr": member})
    regions = [{"name": each.name, "title": each.title} for each in REGIONS.regions]
    document = {"regions": {"regions": regions}, "ood_threshold": 0.99, "digest": "random"}
    storage.write_json(
        storage.join(probe, "bundle", "bundle.json"), {**document, "facts": {"l2": {"simclr": 0.1}, "balance": 0.5}}
    )
    return ["--images", images, "--predictions", predictions, "--probe", probe, "--output", str(place / "findings")]


def _images(
    keys: dict[str, list[Any]], labels: npt.NDArray[np.int64], pictures: list[bytes], rng: np.random.Generator
) -> pa.Table:
    rows = len(labels)
    hashes = rng.integers(-(2**63), 2**63 - 1, rows)
    hashes[rng.random(rows) < BLANK] = 0
    patients = rng.integers(1, 400_000, rows)
    patients[rng.random(rows) < ONE_PATIENT] = 0
    columns = {
        **keys,
        "label": [REGIONS.names[label] for label in labels],
        "patient": [f"p{number}" for number in patients],
        "station": [f"XR-{number}" for number in rng.integers(0, 40, rows)],
        "status": ["ok"] * rows,
        "content_hash": [f"hash{key}" for key in keys["row_id"]],
        "perceptual_hash": hashes,
        "image": [pictures[place] for place in rng.integers(0, len(pictures), rows)],
        "side_px": np.full(rows, SIDE_PX, np.int32),
        "split": ["train"] * rows,
    }
    return _filled(columns, tables.IMAGES_SCHEMA, rows)


def _predictions(keys: dict[str, list[Any]], known: dict[str, Any]) -> pa.Table:
    rows = len(known["region"])
    schema = tables.predictions_schema(len(REGIONS))
    kind = schema.field("probabilities").type.value_type
    columns = {
        **keys,
        "status": ["ok"] * rows,
        "region": [REGIONS.names[each] for each in known["region"]],
        "confidence": known["probabilities"].max(axis=1),
        "abstained": np.zeros(rows, bool),
        "ood_score": known["ood_score"],
        "probabilities": _lists(known["probabilities"], kind),
    }
    return _filled(columns, schema, rows)


def _filled(columns: dict[str, Any], schema: pa.Schema, rows: int) -> pa.Table:
    """A table of a schema; columns that are not given are null."""
    found = [
        columns[field.name].cast(field.type)
        if isinstance(columns.get(field.name), pa.Array)
        else pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(found, schema=schema)


def _lists(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    flat = pa.array(values.reshape(-1).astype(kind.to_pandas_dtype()), kind)
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def measure_scale(place: Path, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run jobs/audit.py on `count` images in a process of its own."""
    arguments = write_archive(place, count)
    job = Path(__file__).resolve().parents[1] / "jobs" / "audit.py"
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(job), *arguments, "--no-heat-maps"], check=True, capture_output=True, text=True
    )
    seconds = time.monotonic() - started
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    summary = json.loads(done.stdout.splitlines()[-1])
    print(f"{count:,} images x {DIMENSION}: {seconds:.0f} s, {peak_gib:.2f} GiB at most, {summary['by_issue']}")
    yield f"{count:,} images, minutes", result(round(seconds / 60, 2), 30, least=False)
    yield f"{count:,} images, GiB at most", result(round(peak_gib, 2), 8, least=False)
