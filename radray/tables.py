"""The schemas of the tables between stages. `uri` is the key everywhere: the object's URL, unique by construction.

Every row also carries `row_id`, a signed 64-bit hash of `uri` and `etag` (first 8 bytes of their BLAKE2b digest): the
id that Ray's checkpoint filters on, small enough that a shard of a million objects costs 8 MB. An object that changes
is another row.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MANIFEST_SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("row_id", pa.int64()),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("modified", pa.timestamp("us", tz="UTC")),
    ]
)
"""The listing of an archive."""

FACTS = [
    pa.field("uri", pa.string()),
    pa.field("row_id", pa.int64()),
    pa.field("etag", pa.string()),
    pa.field("size", pa.int64()),
    pa.field("modified", pa.timestamp("us", tz="UTC")),
    pa.field("label", pa.string()),
    pa.field("label_source", pa.string()),
    pa.field("protocol_term", pa.string()),
    pa.field("modality", pa.string()),
    pa.field("sop_class_uid", pa.string()),
    pa.field("sop_instance_uid", pa.string()),
    pa.field("study_instance_uid", pa.string()),
    pa.field("series_instance_uid", pa.string()),
    pa.field("patient", pa.string()),
    pa.field("body_part_examined", pa.string()),
    pa.field("anatomic_region_code", pa.string()),
    pa.field("view_position", pa.string()),
    pa.field("laterality", pa.string()),
    pa.field("image_type", pa.string()),
    pa.field("photometric", pa.string()),
    pa.field("transfer_syntax", pa.string()),
    pa.field("rows", pa.int32()),
    pa.field("columns", pa.int32()),
    pa.field("frames", pa.int32()),
    pa.field("bits_stored", pa.int16()),
    pa.field("burned_in_annotation", pa.bool_()),
    pa.field("manufacturer", pa.string()),
    pa.field("model", pa.string()),
    pa.field("station", pa.string()),
    pa.field("study_year", pa.int16()),
    pa.field("sex", pa.string()),
    pa.field("age_decade", pa.int16()),
]
"""Header facts of one object; strings are null where the header says nothing."""

OUTCOME = [
    pa.field("status", pa.string()),
    pa.field("reason", pa.string()),
    pa.field("message", pa.string()),
]
"""What became of the object: `radray.errors.Status`, `radray.errors.Reason` or null, and a message without identity."""

KEY = pa.field("key", pa.string())
"""What every table beyond the index calls an object: its URL, or a keyed hash of it (`--key hash`)."""

INDEX_SCHEMA = pa.schema([KEY, *FACTS, *OUTCOME])
"""`index/`: one row an object of the archive. It alone holds both `uri` and `key`."""

IMAGES_SCHEMA = pa.schema(
    [
        *FACTS,
        *OUTCOME,
        pa.field("content_hash", pa.string()),
        pa.field("image", pa.binary()),
        pa.field("side_px", pa.int16()),
        pa.field("crop_box", pa.list_(pa.float32(), 4)),
        pa.field("angle_deg", pa.float32()),
        pa.field("flags", pa.list_(pa.string())),
        pa.field("perceptual_hash", pa.int64()),
        pa.field("split", pa.string()),
    ]
)
"""`images/`: one row a radiograph of the index (status ok there); without image where it gave none (quarantine).

`image` holds side_px × side_px uint8 grey values, row by row, bone bright (MONOCHROME2 sense), null where status is
not ok. `crop_box` is (left, top, right, bottom) in fractions of the stored image's columns and rows; `split` is train,
validation or test.
"""


def row_id(uri: str, etag: str = "") -> int:
    """The signed 64-bit key of one version of an object (BLAKE2b of URL and ETag, first 8 bytes, big endian)."""
    text = f"{uri}\0{etag}" if etag else uri
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big", signed=True
    )


def contains(sorted_ids: npt.NDArray[np.int64], ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which row_ids are among the sorted ones: quick for a few ids and many sorted ones."""
    if not len(sorted_ids):
        return np.zeros(len(ids), bool)
    places = np.searchsorted(sorted_ids, ids).clip(max=len(sorted_ids) - 1)
    return np.asarray(sorted_ids[places] == ids)


def predictions_schema(classes: int) -> pa.Schema:
    """The schema of `predictions/` for a bundle of `classes` regions (probabilities in bundle order).

    `turned_deg` is how far counter-clockwise the image was found to be turned (0, 90, 180, 270); `inverted` whether its
    grey values are, against what its header says. The prediction is that of the image put right.
    """
    return pa.schema(
        [
            ("uri", pa.string()),
            ("row_id", pa.int64()),
            *OUTCOME,
            ("region", pa.string()),
            ("code", pa.string()),
            ("confidence", pa.float32()),
            ("abstained", pa.bool_()),
            ("ood_score", pa.float32()),
            ("turned_deg", pa.int16()),
            ("inverted", pa.bool_()),
            ("probabilities", pa.list_(pa.float32(), classes)),
            ("member_regions", pa.map_(pa.string(), pa.string())),
            ("header_label", pa.string()),
            ("agrees", pa.bool_()),
            ("patient", pa.string()),
            ("station", pa.string()),
            ("bundle", pa.string()),
            ("radray_version", pa.string()),
        ]
    )


def with_column(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The table with other values in a column that it has."""
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)
