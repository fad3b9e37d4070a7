"""Listings that the site made: a table of objects, or an S3 inventory."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from radray import storage
from radray.errors import ConfigError
from radray.site_table import key_column, object_uri

Listed = tuple[str, int | None, str, datetime | None]
"""URL, size in bytes, ETag, time of the last change."""

INVENTORY = "manifest.json"
"""Name of an S3 inventory's description."""


def is_table(url: str) -> bool:
    """Whether a URL is that of a listing (.csv, .parquet, an inventory's manifest.json) and not of an archive."""
    return url.endswith((".csv", ".parquet", f"/{INVENTORY}"))


def list_table(url: str) -> Iterator[Listed]:
    """Objects of a CSV or Parquet table: uri (or path, below the table's folder); size, etag, modified where known.

    Raises:
        ConfigError: Neither column is there.
    """
    folder = storage.parent(url)
    for batch in _batches(url):
        key = key_column(batch.schema.names, url, "--archive")
        for row in batch.to_pylist():
            if name := str(row[key] or ""):
                yield _listed(object_uri(name, folder), row.get("size"), row.get("etag"), row.get("modified"))


def list_inventory(url: str) -> Iterator[Listed]:
    """Objects of an S3 inventory (CSV or Parquet; current versions only), read in the store that holds `url`.

    Raises:
        ConfigError: Another file format, or a field list without bucket and key.
    """
    facts = storage.read_json(url)
    fields = [field.strip() for field in str(facts.get("fileSchema", "")).split(",")]
    kind = str(facts.get("fileFormat", "")).upper()
    if kind not in ("CSV", "PARQUET"):
        raise ConfigError(f"--archive {url}: an inventory as {kind or 'an unknown format'}; use CSV or Parquet")
    if kind == "CSV" and not {"Bucket", "Key"} <= set(fields):
        raise ConfigError(f"--archive {url}: its fileSchema is {fields}; Bucket and Key are needed")
    for file in facts["files"]:
        place = _inventory_file(url, file["key"])
        rows = _inventory_csv(place, fields) if kind == "CSV" else _inventory_parquet(place)
        for row in rows:
            if str(row.get("islatest", "true")).lower() == "false":
                continue
            if str(row.get("isdeletemarker", "false")).lower() == "true":
                continue
            size = row.get("size")
            yield _listed(f"s3://{row['bucket']}/{row['key']}", size, row.get("etag"), row.get("lastmodifieddate"))


def _inventory_file(url: str, key: str) -> str:
    if url.startswith(("s3://", "s3a://")):
        return f"s3://{url.split('://', 1)[1].split('/', 1)[0]}/{key}"
    # A copy on disk keeps the inventory's shape: …/<date>/manifest.json beside …/data/.
    return storage.join(storage.parent(storage.parent(url)), "data", key.rsplit("/", 1)[-1])


def _inventory_csv(url: str, fields: list[str]) -> Iterator[dict[str, Any]]:
    place = storage.locate(url)
    names = [field.lower() for field in fields]
    with (
        place.fs.open(place.path, "rb") as packed,
        gzip.open(packed) as plain,
        io.TextIOWrapper(plain, "utf-8", newline="") as text,
    ):
        for values in csv.reader(text):
            row = dict(zip(names, values, strict=False))
            yield row | {"key": unquote_plus(row["key"])}


def _inventory_parquet(url: str) -> Iterator[dict[str, Any]]:
    for batch in _batches(url):
        for row in batch.to_pylist():
            yield {name.lower().replace("_", ""): found for name, found in row.items()}


def _batches(url: str) -> Iterator[pa.RecordBatch]:
    place = storage.locate(url)
    if url.endswith(".csv"):
        blank = arrow_csv.ConvertOptions(strings_can_be_null=True, column_types={"etag": pa.string()})
        yield from arrow_csv.open_csv(place.arrow.open_input_stream(place.path), convert_options=blank)
        return
    yield from parquet.ParquetFile(place.arrow.open_input_file(place.path)).iter_batches(20_000)


def _listed(uri: str, size: Any, etag: Any, modified: Any) -> Listed:
    when = modified
    if isinstance(modified, str):
        try:
            when = datetime.fromisoformat(modified)
        except ValueError:
            when = None
    if isinstance(when, datetime) and when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    number = int(size) if str(size or "").strip().isdigit() else None
    return uri, number, str(etag or "").strip('"'), when if isinstance(when, datetime) else None
