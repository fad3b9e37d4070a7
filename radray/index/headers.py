"""Manifest rows to index rows: ranged reads, header facts, labels. No Ray."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from radray.archive import fetch_range
from radray.dicom.header import HeaderReader, read_facts
from radray.dicom.parsing import MoreBytesNeeded
from radray.errors import ObjectError, Reason
from radray.index.labels import LabelSource
from radray.tables import INDEX_SCHEMA, MANIFEST_SCHEMA

_GROWTH = 8
_MAX_HEADER_BYTES = 1 << 26
"""Longest header that is read (64 MiB)."""
_READS_AT_ONCE = 32
"""Ranged reads under way together: a store answers late, but many at once."""

_UIDS = ("sop_instance_uid", "study_instance_uid", "series_instance_uid")


class ReadHeaders:
    """Reads the headers of a table of manifest rows.

    Args:
        reader: Class list, pseudonyms and rule.
        labels: Where labels come from.
        header_bytes: Bytes read first.
        hash_keys: Whether `key` and the UIDs become keyed hashes.
    """

    def __init__(
        self, *, reader: HeaderReader, labels: LabelSource, header_bytes: int, hash_keys: bool = False
    ) -> None:
        self._reader, self._labels, self._header_bytes = reader, labels, header_bytes
        self._hash_keys = hash_keys
        self._threads = ThreadPoolExecutor(_READS_AT_ONCE)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """One row of `INDEX_SCHEMA` for each row, in order."""
        listed = rows.select(MANIFEST_SCHEMA.names).to_pylist()
        beginnings = self._threads.map(self._beginning, listed)
        found = [self._facts(row, body) for row, body in zip(listed, beginnings, strict=True)]
        return pa.Table.from_pylist(found, schema=INDEX_SCHEMA)

    def key(self, uri: str) -> str:
        """What every table beyond the index calls an object."""
        return self._reader.pseudonyms.key(uri) if self._hash_keys else uri

    def _beginning(self, row: dict[str, Any]) -> bytes | ObjectError:
        try:
            return fetch_range(row["uri"], 0, self._header_bytes, etag=row["etag"], size=row["size"])
        except ObjectError as error:
            return error

    def _facts(self, row: dict[str, Any], body: bytes | ObjectError) -> dict[str, Any]:
        row = row | {"key": self.key(row["uri"])}
        try:
            if isinstance(body, ObjectError):
                raise body
            facts = row | self._read(row, body)
            if self._hash_keys:
                facts |= {name: self._reader.pseudonyms.key(uid) for name in _UIDS if (uid := facts[name])}
            facts["label"], facts["label_source"] = self._labels.label(row["uri"], facts)
        except ObjectError as error:
            return row | {"status": error.reason.status.value, "reason": error.reason.value, "message": error.message}
        return facts

    def _read(self, row: dict[str, Any], body: bytes) -> dict[str, Any]:
        complete = len(body) < self._header_bytes
        while True:
            try:
                return read_facts(body, self._reader, complete=complete)
            except MoreBytesNeeded:
                if len(body) >= _MAX_HEADER_BYTES:
                    raise ObjectError(Reason.CORRUPT_HEADER, f"no end after {len(body):,} bytes") from None
            ask = len(body) * (_GROWTH - 1)
            rest = fetch_range(row["uri"], len(body), ask, etag=row["etag"])
            complete = len(rest) < ask
            body += rest
