"""Predictions as one flat CSV file for spreadsheets and software that reads no Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as parquet

from radray import storage

_PLAIN = (
    "uri",
    "status",
    "reason",
    "message",
    "region",
    "code",
    "confidence",
    "abstained",
    "ood_score",
    "turned_deg",
    "inverted",
    "header_label",
    "agrees",
    "patient",
    "station",
    "bundle",
    "radray_version",
)
_ROWS_AT_ONCE = 4096
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_csv(folder: str, url: str, *, regions: Sequence[str], methods: Sequence[str]) -> int:
    """Write all rows of a version as CSV (RFC 4180, UTF-8); return their number.

    Lists become columns: `probability_REGION` for each region, `region_METHOD` for each member. A few thousand rows are
    in memory at once, and a reader sees the whole file or the one before.

    Args:
        folder: URL of the version.
        url: URL of the file.
        regions: Names in the order of `probabilities`.
        methods: The members' names.
    """
    rows = 0
    header = [*_PLAIN, *(f"probability_{name}" for name in regions), *(f"region_{name}" for name in methods)]
    with storage.open_output(url) as sink, io.TextIOWrapper(sink, "utf-8", newline="") as text:
        lines = csv.writer(text)
        lines.writerow([harmless(name) for name in header])
        for file in storage.list_files(folder, ".parquet"):
            place = storage.locate(file)
            for batch in parquet.ParquetFile(place.arrow.open_input_file(place.path)).iter_batches(_ROWS_AT_ONCE):
                found = batch.to_pylist()
                lines.writerows(_cells(row, len(regions), methods) for row in found)
                rows += len(found)
    return rows


def harmless(cell: Any) -> Any:
    """Text that a spreadsheet would take for a formula (begins with = + - @, tab or line end), behind an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _cells(row: dict[str, Any], regions: int, methods: Sequence[str]) -> list[Any]:
    members = dict(row["member_regions"] or ())
    probabilities = row["probabilities"] or [None] * regions
    cells = [*(row[name] for name in _PLAIN), *probabilities, *(members.get(name) for name in methods)]
    return [harmless(str(cell).lower() if isinstance(cell, bool) else cell) for cell in cells]
