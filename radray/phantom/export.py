"""Writing the phantom: plan, draw, encode and store every object, and keep its truth apart from the archive."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
from pydicom.config import disable_value_validation

from radray import storage
from radray.phantom.config import PhantomConfig
from radray.phantom.encoding import Stored, add_pixels, file_bytes, store_samples
from radray.phantom.other_objects import OTHER_OBJECTS
from radray.phantom.plan import Planned, plan_archive
from radray.phantom.radiograph import Rendered, render_radiograph
from radray.phantom.record import header
from radray.regions import RegionSet, load_regions
from radray.tables import row_id

TRUTH_SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("row_id", pa.int64()),
        ("region", pa.string()),
        ("header_label", pa.string()),
        ("label_state", pa.string()),
        ("kind", pa.string()),
        ("kind_detail", pa.string()),
        ("patient", pa.string()),
        ("study", pa.int32()),
        ("part", pa.string()),
        ("modality", pa.string()),
        ("station", pa.string()),
        ("view", pa.string()),
        ("side", pa.string()),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        ("exposed_field", pa.list_(pa.list_(pa.float32(), 2))),
        ("angle_deg", pa.float32()),
        ("turned_deg", pa.float32()),
        ("collimation", pa.string()),
        ("monochrome", pa.string()),
        ("transfer_syntax", pa.string()),
        ("bits", pa.int16()),
        ("lut", pa.string()),
        ("gauges", pa.list_(pa.string())),
        ("marker", pa.string()),
        ("implant", pa.string()),
        ("cast", pa.bool_()),
        ("burned_in", pa.bool_()),
        ("cue", pa.string()),
        ("cue_side", pa.string()),
    ]
)
"""`truth.parquet`: one row an object, in the order of the plan; strings are null where there is nothing to say.

`region` is what the picture shows, `header_label` the region the header names, `label_state` ok, wrong or missing
(radiographs only; null for the other kinds). `kind` is radiograph, out_of_domain or broken, `kind_detail` says which.
`part` is the patient's side (train or test) for the spurious cue; `cue_side` repeats it where a cue is drawn.
"""

_UNKNOWN_SYNTAX = "1.2.840.10008.1.2.4.999"
_NOT_DICOM = (
    b"Thumbs database\0\0\0\0",
    b"%PDF-1.4\n1 0 obj\n<< >>\nendobj\n",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0",
    b"[autorun]\r\nopen=viewer.exe\r\n",
)


@lru_cache(maxsize=2)
def _regions(spec: str) -> RegionSet:
    return load_regions(spec)


def _burned_text(planned: Planned, rng: np.random.Generator) -> list[str]:
    who = planned.patient
    lines = [
        who.name.replace("^", ", "),
        f"*{who.birth_date}  {who.patient_id}",
        f"{planned.study_date} {planned.scanner.station}",
    ]
    return lines[: int(rng.integers(1, 4))]


def draw_object(planned: Planned, config: PhantomConfig) -> tuple[bytes, dict[str, Any]]:
    """The file of one planned object and its row of truth (without uri and row_id)."""
    seeds = np.random.SeedSequence(config.seed, spawn_key=(1, planned.number)).spawn(3)
    paint, store, write = (np.random.default_rng(seed) for seed in seeds)
    named = _regions(config.regions)[planned.header_label] if planned.header_label else None
    truth: dict[str, Any] = {
        "region": planned.region or None,
        "header_label": planned.header_label or None,
        "label_state": planned.label_state if planned.kind == "radiograph" else None,
        "kind": planned.kind,
        "kind_detail": planned.detail or None,
        "patient": planned.patient.patient_id,
        "study": planned.study,
        "part": planned.patient.part,
        "station": planned.scanner.station,
    }
    if planned.detail == "not_dicom":
        return _NOT_DICOM[int(write.integers(len(_NOT_DICOM)))] + write.bytes(int(write.integers(200, 3000))), truth
    if planned.kind == "out_of_domain":
        return _draw_other(planned, config, paint, store, write, truth)
    text = _burned_text(planned, write) if write.random() < 0.08 else []
    rendered = render_radiograph(planned.region, paint, config.side_px, text=text, cue=planned.cue)
    stored = store_samples(rendered.pixels, store)
    dataset = header(
        planned,
        config.seed,
        named,
        view=rendered.view,
        side=rendered.side,
        modality=planned.scanner.modality,
        rng=write,
    )
    if rendered.burned_in:
        if write.random() < 0.6:
            dataset.BurnedInAnnotation = "YES"
        else:
            del dataset.BurnedInAnnotation
    add_pixels(dataset, stored)
    truth |= _geometry(rendered) | _storage_facts(stored) | {"modality": dataset.Modality}
    if rendered.cue:
        truth["cue_side"] = planned.patient.part
    if planned.kind == "radiograph":
        return file_bytes(dataset, stored.syntax), truth
    return _spoil(dataset, stored, planned.detail, truth, write), truth


def _geometry(rendered: Rendered) -> dict[str, Any]:
    return {
        "view": rendered.view,
        "side": rendered.side or None,
        "exposed_field": [list(point) for point in rendered.exposed_field],
        "angle_deg": rendered.angle_deg,
        "turned_deg": rendered.turned_deg,
        "collimation": rendered.collimation,
        "gauges": rendered.gauges,
        "marker": rendered.marker or None,
        "implant": rendered.implant or None,
        "cast": rendered.cast,
        "burned_in": rendered.burned_in,
        "cue": rendered.cue or None,
    }


def _storage_facts(stored: Stored) -> dict[str, Any]:
    return {
        "rows": stored.samples.shape[0],
        "columns": stored.samples.shape[1],
        "monochrome": stored.photometric,
        "transfer_syntax": stored.syntax,
        "bits": stored.bits,
        "lut": stored.lut,
    }


def _draw_other(
    planned: Planned,
    config: PhantomConfig,
    paint: np.random.Generator,
    store: np.random.Generator,
    write: np.random.Generator,
    truth: dict[str, Any],
) -> tuple[bytes, dict[str, Any]]:
    """An out-of-domain object; about half are declared as radiographs, so that only the picture can tell."""
    side = max(48, round(config.side_px * paint.uniform(0.5, 1.0)))
    other = OTHER_OBJECTS[planned.detail](paint, side)
    disguised = planned.header_label != ""
    modality = planned.scanner.modality if disguised else other.modality
    named = _regions(config.regions)[planned.header_label] if disguised else None
    dataset = header(planned, config.seed, named, view="", side="", modality=modality, rng=write)
    if other.pixels.ndim == 3 and disguised and planned.scanner.modality == "DX":
        pixels = other.pixels.astype(np.float32).mean(axis=2) / np.float32(255)
    else:
        pixels = other.pixels
    if pixels.ndim == 3:
        stored = Stored(
            samples=pixels.astype(np.uint8), syntax="1.2.840.10008.1.2.1", bits=8, photometric="RGB", lut="plain"
        )
    else:
        stored = store_samples(np.asarray(pixels, dtype=np.float32), store)
    if not disguised:
        dataset.SOPClassUID = other.sop_class_uid
        if other.modality in ("OT", "XC"):
            dataset.ConversionType = "SD"
    add_pixels(dataset, stored)
    return file_bytes(dataset, stored.syntax), truth | _storage_facts(stored) | {
        "modality": modality,
        "burned_in": False,
    }


def _spoil(dataset: Any, stored: Stored, detail: str, truth: dict[str, Any], rng: np.random.Generator) -> bytes:
    """The file, broken in the way asked for."""
    if detail == "no_pixels":
        del dataset.PixelData
        return file_bytes(dataset, "1.2.840.10008.1.2.1")
    if detail == "wrong_length":
        keep = int(stored.samples.nbytes * rng.uniform(0.3, 0.9)) // 2 * 2
        dataset.add_new("PixelData", "OW", stored.samples.tobytes()[:keep])
        truth["transfer_syntax"] = "1.2.840.10008.1.2.1"
        return file_bytes(dataset, "1.2.840.10008.1.2.1")
    if detail == "unknown_transfer_syntax":
        truth["transfer_syntax"] = _UNKNOWN_SYNTAX
        return file_bytes(dataset, _UNKNOWN_SYNTAX)
    body = file_bytes(dataset, stored.syntax)
    return body[: int(len(body) * rng.uniform(0.3, 0.8))]


def _write_one(planned: Planned, config: PhantomConfig) -> dict[str, Any]:
    import cv2

    cv2.setNumThreads(1)
    # Values are our own; checking each against its VR costs as much as drawing.
    with disable_value_validation():
        body, truth = draw_object(planned, config)
    uri = storage.join(storage.normalise_url(config.output), planned.path)
    storage.write_bytes(uri, body)
    return {"uri": uri, "row_id": row_id(uri), **truth}


def write_phantom(config: PhantomConfig) -> dict[str, Any]:
    """Write the archive and, apart from it, the truth table and the recipe; returns a summary.

    An archive that is whole already stays as it is. Each object draws from its own seed, so the bytes depend on the
    configuration alone, not on `workers`.

    Raises:
        ConfigError: The target cannot be written to or holds something else.
    """
    config.check()
    if not storage.exists(config.truth_url):
        storage.write_json(config.recipe_url, config.recipe())
        rows = _write_objects(config)
        # The truth comes last: where it lies, the archive is whole.
        storage.write_table(config.truth_url, pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA))
    return _summarise(config)


def _write_objects(config: PhantomConfig) -> list[dict[str, Any]]:
    planned = plan_archive(config)
    write = partial(_write_one, config=config)
    workers = config.workers or os.cpu_count() or 1
    if workers == 1:
        return list(_told(map(write, planned), len(planned)))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("forkserver")) as pool:
        chunk = max(1, min(32, len(planned) // (4 * workers)))
        return list(_told(pool.map(write, planned, chunksize=chunk), len(planned)))


def _told(rows: Iterable[dict[str, Any]], total: int, every_s: float = 5.0) -> Iterator[dict[str, Any]]:
    """The rows as they come, with a line of progress to standard error every few seconds."""
    started = told = time.monotonic()
    for number, row in enumerate(rows, start=1):
        now = time.monotonic()
        if now - told >= every_s:
            told, rate = now, number / (now - started)
            left = (total - number) / rate
            print(f"phantom: {number:,} of {total:,} objects · {rate:.0f}/s · ETA {left:.0f} s", file=sys.stderr)
        yield row


def _summarise(config: PhantomConfig) -> dict[str, Any]:
    columns = ["patient", "kind", "region", "label_state", "transfer_syntax"]
    rows = storage.read_table(config.truth_url, columns=columns).to_pylist()
    radiographs = [row for row in rows if row["kind"] == "radiograph"]
    return {
        "archive": storage.normalise_url(config.output),
        "truth": config.truth_url,
        "rows_out": len(rows),
        "patients": len({row["patient"] for row in rows}),
        "by_kind": dict(Counter(row["kind"] for row in rows)),
        "by_region": dict(Counter(row["region"] for row in radiographs)),
        "by_label_state": dict(Counter(row["label_state"] for row in radiographs)),
        "by_transfer_syntax": dict(Counter(row["transfer_syntax"] for row in rows if row["transfer_syntax"])),
    }
