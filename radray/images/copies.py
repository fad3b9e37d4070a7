"""Exact copies: rows with the same pixels, of which the first by URL stays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from radray import storage
from radray.errors import Reason, Status

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
        field = table.schema.field(column)
        values = pc.if_else(fresh, pa.scalar(value, field.type), table[column])
        table = table.set_column(table.schema.get_field_index(column), field, values)
    storage.write_table(file, table)
