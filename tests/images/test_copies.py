"""Copies in an images table: exact ones set aside, near ones flagged, and taken back when they no longer hold."""

from __future__ import annotations

import pyarrow as pa

from radray import storage
from radray.images.clean_stage import rare_image_types
from radray.images.copies import NEAR_COPY, flag_near_copies, mark_copies
from radray.tables import IMAGES_SCHEMA, INDEX_SCHEMA, row_id

HASHES = {"a": 0b1111, "b": 0b1110, "c": 0b0111_0000_0000_1111, "d": -1, "e": 0b1111}


def write_images(url: str, **content: str) -> None:
    rows = [
        {
            "uri": name,
            "row_id": row_id(name),
            "status": "ok",
            "image": b"grey",
            "flags": ["field_rectangle"],
            "perceptual_hash": bits,
            "content_hash": content.get(name, name),
        }
        for name, bits in HASHES.items()
    ]
    rows.append({"uri": "f", "row_id": row_id("f"), "status": "failed", "reason": "corrupt_pixels"})
    for number, part in enumerate((rows[:3], rows[3:])):
        storage.write_table(storage.join(url, f"{number}.parquet"), pa.Table.from_pylist(part, schema=IMAGES_SCHEMA))


def flagged(url: str) -> set[str]:
    return {row["uri"] for row in storage.read_table(url).to_pylist() if NEAR_COPY in (row["flags"] or ())}


def test_near_copies_are_flagged_and_stay(store: str) -> None:
    write_images(store)
    assert flag_near_copies(store, 2) == 2
    assert flagged(store) == {"b", "e"}
    assert {row["status"] for row in storage.read_table(store).to_pylist()} == {"ok", "failed"}
    assert flag_near_copies(store, 3) == 3
    assert flagged(store) == {"b", "c", "e"}
    assert flag_near_copies(store, 0) == 1
    assert flagged(store) == {"e"}


def test_an_exact_copy_is_no_near_copy(store: str) -> None:
    write_images(store, e="a")
    assert mark_copies(store) == 1
    assert flag_near_copies(store, 2) == 1
    assert flagged(store) == {"b"}
    assert {row["uri"] for row in storage.read_table(store).to_pylist() if row["reason"] == "exact_copy"} == {"e"}


def test_rare_image_types_are_those_below_a_share(store: str) -> None:
    kinds = ["ORIGINAL\\PRIMARY"] * 97 + ["DERIVED\\PRIMARY\\EDGE"] + [None] * 2
    rows = [{"uri": str(n), "row_id": n, "status": "ok", "image_type": kind} for n, kind in enumerate(kinds)]
    rows.append({"uri": "x", "row_id": 1000, "status": "failed", "image_type": "OTHER"})
    storage.write_table(storage.join(store, "0.parquet"), pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
    assert rare_image_types(store, 0.0) == frozenset()
    assert rare_image_types(store, 0.015) == {"DERIVED\\PRIMARY\\EDGE"}
    assert rare_image_types(store, 0.05) == {"DERIVED\\PRIMARY\\EDGE", None}
