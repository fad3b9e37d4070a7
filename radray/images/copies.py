"""Copies in an images table: exact ones are set aside, the first by URL stays; near ones get a flag."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from radray import storage
from radray.errors import Reason, Status
from radray.images.near_duplicates import find_near_pairs
from radray.tables import with_column

NEAR_COPY = "near_copy"
"""Flag of an image that looks like another one further up by URL."""
_MESSAGE = "same pixels as another object"


def mark_copies(url: str) -> int:
    """Set aside every exact copy in an images table, in place; return how many there are.

    Files without a change are not touched, each other is replaced whole: a run killed in between is finished by the
    next, and a second run changes nothing.
    """
    facts = storage.read_table(url, columns=["uri", "row_id", "content_hash", "status", "reason"])
    usable = pc.or_kleene(
        pc.equal(facts["status"], Status.OK.value), pc.equal(facts["reason"], Reason.EXACT_COPY.value)
    )
    facts = facts.filter(usable).sort_by([("content_hash", "ascending"), ("uri", "ascending")])
    if not facts.num_rows:
        return 0
    hashes = facts["content_hash"].to_numpy(zero_copy_only=False)
    again = np.concatenate([[False], hashes[1:] == hashes[:-1]])
    copies = facts["row_id"].filter(pa.array(again)).combine_chunks()
    if len(copies):
        for file in storage.list_files(url, ".parquet"):
            _mark(file, copies)
    return len(copies)


def flag_near_copies(url: str, max_bits: int) -> int:
    """Flag every usable image whose perceptual hash is near that of one before it by URL; return how many there are.

    Flags of an earlier run that no longer hold are taken back. Only files with a change are replaced.

    Args:
        url: The images table.
        max_bits: Bits of 64 in which the hashes differ at most, 0 to 8.
    """
    facts = storage.read_table(url, columns=["uri", "row_id", "perceptual_hash", "status"])
    facts = facts.filter(pc.equal(facts["status"], Status.OK.value)).sort_by("uri")
    hashes, ids = facts["perceptual_hash"].to_numpy(), facts["row_id"].to_numpy()
    # Images with the same hash stand for one: as pairs they would be as many as the square of their number.
    first = np.sort(np.unique(hashes, return_index=True)[1])
    again = np.delete(np.arange(len(hashes)), first)
    second = first[find_near_pairs(hashes[first], max_bits).second]
    near = pa.array(np.unique(ids[np.concatenate([again, second])]), pa.int64())
    for file in storage.list_files(url, ".parquet"):
        place = storage.locate(file)
        brief = parquet.read_table(place.path, filesystem=place.arrow, columns=["row_id", "flags"])
        wanted = pc.is_in(brief["row_id"], near).to_pylist()
        flags = brief["flags"].to_pylist()
        if all((NEAR_COPY in (own or ())) == is_near for own, is_near in zip(flags, wanted, strict=True)):
            continue
        new = [
            own if own is None else [flag for flag in own if flag != NEAR_COPY] + [NEAR_COPY] * is_near
            for own, is_near in zip(flags, wanted, strict=True)
        ]
        table = parquet.read_table(place.path, filesystem=place.arrow)
        storage.write_table(file, with_column(table, "flags", pa.array(new, table.schema.field("flags").type)))
    return len(near)


def _mark(file: str, copies: pa.Array) -> None:
    place = storage.locate(file)
    brief = parquet.read_table(place.path, filesystem=place.arrow, columns=["row_id", "status"])
    fresh = pc.and_(pc.is_in(brief["row_id"], copies), pc.equal(brief["status"], Status.OK.value))
    if not pc.any(fresh).as_py():
        return
    table = parquet.read_table(place.path, filesystem=place.arrow)
    for column, value in (
        ("status", Status.SET_ASIDE.value),
        ("reason", Reason.EXACT_COPY.value),
        ("message", _MESSAGE),
        ("image", None),
    ):
        values = pc.if_else(fresh, pa.scalar(value, table.schema.field(column).type), table[column])
        table = with_column(table, column, values)
    storage.write_table(file, table)
