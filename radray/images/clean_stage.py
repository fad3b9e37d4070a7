"""The clean stage: every radiograph of an index is fetched, decoded and cleaned in one streaming pass."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from radray import storage, streaming
from radray.archive import fetch
from radray.cleaning.config import CleaningConfig
from radray.errors import ConfigError, ObjectError, Reason, Status
from radray.images.config import CleanConfig
from radray.images.copies import flag_near_copies, mark_copies
from radray.images.frames import FRAME, write_frame_rows
from radray.images.prepare import prepare_image, quarantine
from radray.images.reading import save_cleaning
from radray.images.sheets import contact_sheet
from radray.images.split import SPLITS, complete_splits, extend_splits, read_splits
from radray.tables import FACTS, IMAGES_SCHEMA, KEY
from radray.version import __version__

_COLUMNS = [KEY.name, *(field.name for field in FACTS)]
_SOURCE_COLUMNS = [*_COLUMNS, "status"]
_FRAMES = "_frames-{key}"
"""The index's radiographs with a row for each frame."""
_FETCHES = 8
"""Objects a worker fetches at the same time."""
_SHOWN = (Reason.ODD_SHAPE, Reason.BLANK_IMAGE, Reason.EXACT_COPY, Reason.RARE_IMAGE_TYPE)
"""Reasons of this stage whose objects can be shown. Secondary captures are not: they may be sheets full of names."""
_KEYED = ("split", "test_fraction", "validation_fraction", "seed", "rare_image_types", "frames")
"""Settings besides the cleaning that rows depend on."""
_PATIENT_SPLITS = "_patients-{key}.parquet"
"""Which split each patient is in."""


def run_clean(config: CleanConfig) -> dict[str, Any]:
    """Run the stage; return its summary.

    Raises:
        ConfigError: The index holds no radiograph, or the output holds another run's rows.
    """
    settings = {"cleaning": dataclasses.asdict(config.cleaning), "version": __version__}
    settings |= {name: getattr(config, name) for name in _KEYED} | {"index": storage.normalise_url(config.index)}
    key = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()
    source = config.index
    if config.frames == "all":
        source = write_frame_rows(config.index, storage.join(config.output, _FRAMES.format(key=key)), _SOURCE_COLUMNS)
    ids, splits = _splits(config, source, key)
    rows_in = streaming.run(
        streaming.Pass(
            title="clean",
            source=source,
            output=config.output,
            key=key,
            transform=CleanRows,
            arguments={
                "cleaning": config.cleaning,
                "ids": ids,
                "splits": splits,
                "rare_types": rare_image_types(config.index, config.rare_image_types),
            },
            columns=_COLUMNS + ([FRAME.name] if config.frames == "all" else []),
            where=("status", Status.OK.value),
            rows_per_block=config.rows_per_block,
            redo=("reason", Reason.EXACT_COPY.value),
        )
    )
    if config.mark_copies:
        mark_copies(config.output)
    flag_near_copies(config.output, config.near_copy_bits)
    save_cleaning(config.output, config.cleaning)
    _write_reasons(config)
    if config.sheet_images:
        _write_sheets(config)
    return summarise(config.output, rows_in)


def _splits(config: CleanConfig, source: str, key: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The sorted row ids of the index's radiographs, and each one's split as a position in `SPLITS`.

    The split of every patient is kept beside the images, by the run's key: patients keep theirs when the index grows.
    """
    facts = storage.read_table(
        source,
        columns=["row_id", "key", "patient", "study_instance_uid", "label"]
        + (["uri"] if config.split.startswith("table:") else []),
        filter=pc.field("status") == Status.OK.value,
    )
    if not facts.num_rows:
        raise ConfigError(f"--index {config.index}: it holds no radiograph; look at its summary's by_reason")
    # Without a PatientID the study is the patient, and without that the object.
    patients = pc.coalesce(facts["patient"], facts["study_instance_uid"], facts["key"]).to_pylist()
    labels = facts["label"].to_pylist()
    place = storage.join(config.output, _PATIENT_SPLITS.format(key=key))
    known: dict[str, str] = {}
    if storage.exists(place):
        table = storage.read_table(place)
        known = dict(zip(table["patient"].to_pylist(), table["split"].to_pylist(), strict=True))
    if config.split == "patient":
        splits = extend_splits(
            known,
            patients,
            labels,
            test_fraction=config.test_fraction,
            validation_fraction=config.validation_fraction,
            seed=config.seed,
        )
    else:
        named = read_splits(config.split.removeprefix("table:"), facts["uri"].to_pylist())
        given = [split or known.get(patient) for split, patient in zip(named, patients, strict=True)]
        splits = complete_splits(given, patients, labels, config.validation_fraction, config.seed)
    drawn = known | dict(zip(patients, splits, strict=True))
    if drawn != known:
        storage.write_table(place, pa.table({"patient": list(drawn), "split": list(drawn.values())}))
    ids = facts["row_id"].to_numpy()
    order = np.argsort(ids)
    return ids[order], np.array([SPLITS.index(split) for split in splits], np.uint8)[order]


class CleanRows:
    """Index rows to image rows: one transform a worker."""

    def __init__(
        self,
        cleaning: CleaningConfig,
        ids: npt.NDArray[np.int64],
        splits: npt.NDArray[np.uint8],
        rare_types: frozenset[str | None] = frozenset(),
    ) -> None:
        """Keep the configuration and the split of every row (9 bytes each)."""
        self._rare_types = rare_types
        cv2.setNumThreads(1)
        self._cleaning, self._ids, self._splits = cleaning, ids, splits
        self._fetchers = ThreadPoolExecutor(_FETCHES)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Facts of some radiographs to rows of `IMAGES_SCHEMA`, in the same order."""
        facts = rows.to_pylist()
        places = np.searchsorted(self._ids, rows["row_id"].to_numpy())
        bodies = self._fetchers.map(self._body, facts)
        made = []
        for row, body, place in zip(facts, bodies, places, strict=True):
            if isinstance(body, ObjectError):
                image = quarantine(body.reason, body.message)
            else:
                image = prepare_image(
                    body, self._cleaning, burned_in=row["burned_in_annotation"], frame=row.get(FRAME.name, 0)
                )
            made.append({**row, "uri": row["key"], **image, "split": SPLITS[self._splits[place]]})
        return pa.Table.from_pylist(made, schema=IMAGES_SCHEMA)

    def _body(self, row: dict[str, Any]) -> bytes | ObjectError:
        if row["image_type"] in self._rare_types:
            return ObjectError(Reason.RARE_IMAGE_TYPE, f"image type {row['image_type'] or 'not stated'}")
        return _fetch(row["uri"], row["etag"])


def rare_image_types(index: str, share: float) -> frozenset[str | None]:
    """Values of Image Type (None: not stated) that less than `share` of the index's radiographs have."""
    if not share:
        return frozenset()
    types = storage.read_table(index, columns=["image_type"], filter=pc.field("status") == Status.OK.value)
    counts = pc.value_counts(types["image_type"]).to_pylist()
    return frozenset(each["values"] for each in counts if each["counts"] < share * types.num_rows)


def _fetch(uri: str, etag: str | None = None) -> bytes | ObjectError:
    try:
        return fetch(uri, etag=etag)
    except ObjectError as error:
        return error


def _uris(index: str, where: pc.Expression) -> list[str]:
    """The URLs of the index's objects that a condition holds for, sorted."""
    return sorted(storage.read_table(index, columns=["uri"], filter=where)["uri"].to_pylist())


def summarise(url: str, rows_in: int) -> dict[str, Any]:
    """Counts of an images table: by status, reason, split, region and flag."""
    table = storage.read_table(url, columns=["status", "reason", "split", "label", "flags"])
    usable = table.filter(pc.equal(table["status"], Status.OK.value))
    flags: Counter[str] = Counter(pc.list_flatten(usable["flags"]).to_pylist())
    return {
        "stage": "clean",
        "rows_in": rows_in,
        "rows_out": table.num_rows,
        "by_status": streaming.count_by(table, "status"),
        "by_reason": streaming.count_by(table, "reason"),
        "by_split": streaming.count_by(usable, "split"),
        "by_label": streaming.count_by(usable, "label"),
        "by_flag": dict(flags.most_common()),
    }


def _write_reasons(config: CleanConfig) -> None:
    """reasons.csv: how many objects of the archive are used, set aside or failed, why, and at which stage."""
    index = storage.read_table(config.index, columns=["status", "reason"])
    images = storage.read_table(config.output, columns=["status", "reason"])
    unwanted = index.filter(pc.not_equal(index["status"], Status.OK.value))
    lines = ["stage,status,reason,objects"]
    for stage, table in (("index", unwanted), ("clean", images)):
        counts = (
            table.group_by(["status", "reason"]).aggregate([([], "count_all")]).sort_by([("count_all", "descending")])
        )
        lines += [f"{stage},{row['status']},{row['reason'] or ''},{row['count_all']}" for row in counts.to_pylist()]
    storage.write_bytes(storage.join(config.output, "reasons.csv"), ("\n".join(lines) + "\n").encode())


def _write_sheets(config: CleanConfig) -> None:
    """One sheet of cleaned examples and one for each reason whose objects still show something.

    Objects set aside are cleaned with the loosest rules and the stronger text mask, for sheets are shown.
    """
    table = storage.read_table(config.output, columns=["uri", "row_id", "status", "reason"])
    table = table.sort_by("row_id")
    usable = table.filter(pc.equal(table["status"], Status.OK.value))["row_id"][: config.sheet_images]
    side = config.cleaning.side_px
    kept = storage.read_table(config.output, columns=["image"], filter=pc.field("row_id").isin(usable.to_pylist()))
    examples = [np.frombuffer(pixels, np.uint8).reshape(side, side) for pixels in kept["image"].to_pylist()]
    if examples:
        storage.write_bytes(storage.join(config.output, "sheets", "cleaned.png"), contact_sheet(examples))
    loose = dataclasses.replace(config.cleaning, min_contrast=0.0, min_shape_px=1, max_aspect=100.0)
    wanted = {Reason.DERIVED_IMAGE: pc.field("reason") == Reason.DERIVED_IMAGE.value}
    for reason in _SHOWN:
        keys = table.filter(pc.equal(table["reason"], reason.value))["uri"][: config.sheet_images]
        if len(keys):
            wanted[reason] = pc.field("key").isin(keys.to_pylist())
    for reason, where in wanted.items():
        uris = _uris(config.index, where)[: config.sheet_images]
        bodies = [body for body in map(_fetch, uris) if isinstance(body, bytes)]
        pixels = [prepare_image(body, loose, burned_in=True)["image"] for body in bodies]
        images = [np.frombuffer(grey, np.uint8).reshape(side, side) for grey in pixels if grey is not None]
        if images:
            storage.write_bytes(storage.join(config.output, "sheets", f"{reason.value}.png"), contact_sheet(images))
