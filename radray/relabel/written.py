"""The table of what was written about the archive's objects, beside the labels: `labels/written/`.

One Parquet file a part of a labels file, one row an object and kind. A row says `pending` before its file appears, so
that nothing lies anywhere that the table does not know; a file that is no longer wanted is `outdated` until it is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from radray import storage
from radray.relabel.config import Kind
from radray.tables import row_id

FOLDER = "written"

WRITTEN_SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("row_id", pa.int64()),
        ("kind", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("region", pa.string()),
        ("source", pa.string()),
        ("decision", pa.string()),
        ("etag", pa.string()),
        ("url", pa.string()),
        ("sop_class_uid", pa.string()),
        ("sop_instance_uid", pa.string()),
        ("size", pa.int64()),
        ("sent", pa.string()),
        ("sent_to", pa.string()),
        ("sent_message", pa.string()),
    ]
)
"""`kind` is copy, copy_same_uid, sr or rejection; `status` ok, set_aside, failed, pending or outdated; `etag` the
source's when it was read, null where it was not; `sent` stored, failed or withdrawn, null where nothing was sent to
`sent_to`."""

PENDING, OUTDATED = "pending", "outdated"
STORED, REFUSED, WITHDRAWN = "stored", "failed", "withdrawn"

Row = dict[str, Any]
Ids = npt.NDArray[np.int64]


def parts_of(output: str) -> list[str]:
    """URLs of the table's files."""
    return storage.list_files(storage.join(output, FOLDER), ".parquet")


def part_url(output: str, name: str) -> str:
    """URL of one of the table's files."""
    return storage.join(output, FOLDER, f"{name}.parquet")


def read_part(url: str) -> list[Row]:
    """Rows of one file, none where it is missing."""
    rows: list[Row] = storage.read_table(url).to_pylist() if storage.exists(url) else []
    return rows


def write_part(url: str, rows: list[Row]) -> None:
    """Write one file in the order of its keys, unless it is there as it should be; without rows there is none."""
    if not rows:
        storage.remove(url)
        return
    ordered = sorted(rows, key=lambda row: (row["uri"], row["kind"], row["status"], row["url"] or ""))
    if read_part(url) != ordered:
        storage.write_table(url, pa.Table.from_pylist(ordered, schema=WRITTEN_SCHEMA))


def file_url(root: str, name: str) -> str:
    """Where the object called `name` (a 2.25 UID) lies: below one of 256 folders, and nothing of its source's path.

    Paths of an archive may hold names of patients; a folder of a million files serves nobody.
    """
    return storage.join(root, f"{int(name.rsplit('.', 1)[-1]):032x}"[:2], f"{name}.dcm")


def names_present(roots: Iterable[str]) -> Ids:
    """Hashes of the names of all objects below some roots, sorted: 8 bytes an object."""
    found = [
        np.fromiter((name_id(url) for url in storage.list_files(folder, ".dcm")), np.int64)
        for root in roots
        for folder in storage.list_files(root)
        if len(folder.rsplit("/", 1)[-1]) == 2
    ]
    return np.sort(np.concatenate([*found, np.empty(0, np.int64)]))


def name_id(url: str) -> int:
    """Hash of the last two names of a URL."""
    return row_id("/".join(url.rsplit("/", 2)[-2:]))


def holds(ids: Ids, number: int) -> bool:
    """Whether sorted `ids` hold `number`."""
    place = int(np.searchsorted(ids, number))
    return place < len(ids) and int(ids[place]) == number


def ids_where(parts: Iterable[str], wanted: Any) -> Ids:
    """Sorted numbers that `wanted` gives for rows of the files; rows it gives None for are left out."""
    found = [
        np.fromiter((number for row in read_part(part) if (number := wanted(row)) is not None), np.int64)
        for part in parts
    ]
    return np.sort(np.concatenate([*found, np.empty(0, np.int64)]))


def remove_file(url: str) -> bool:
    """Delete an object this table names, and its folder where that leaves it empty; whether it was there."""
    was_there = storage.exists(url)
    storage.remove(url)
    remove_drafts(url)
    place = storage.locate(storage.parent(url))
    if place.is_local and Path(place.path).is_dir() and not any(Path(place.path).iterdir()):
        Path(place.path).rmdir()
    return was_there


def remove_drafts(url: str) -> None:
    """Delete what a run left that was killed while it wrote this file (`storage.write_bytes`)."""
    place = storage.locate(url)
    if place.is_local:
        for draft in Path(place.path).parent.glob(f".{Path(place.path).name}.*"):
            draft.unlink()


def sent_id(row: Row) -> int | None:
    """A number of an object and the PACS that stored it, None for rows of which nothing was stored."""
    return row_id(f"{row['sent_to']} {row['sop_instance_uid']}") if row["sent"] == STORED else None


def mark_stale(output: str, names: set[str]) -> None:
    """Mark the rows of files that a run did not go through, those of earlier predictions, as outdated.

    Args:
        output: URL of the labels.
        names: Of the table's files that the run went through.
    """
    for part in parts_of(output):
        if part.rsplit("/", 1)[-1].removesuffix(".parquet") not in names:
            write_part(part, [row | {"status": OUTDATED} for row in read_part(part) if row["url"]])


def outdated_rows(rows: Iterable[Row], current: Ids) -> list[Row]:
    """Outdated rows whose file no other row speaks for."""
    return [row for row in rows if row["status"] == OUTDATED and not holds(current, name_id(row["url"]))]


def current_files(output: str) -> Ids:
    """Numbers of the files that rows speak for which are not outdated, sorted."""
    return ids_where(
        parts_of(output), lambda row: name_id(row["url"]) if row["url"] and row["status"] != OUTDATED else None
    )


def remove_outdated(output: str) -> int:
    """Delete the files that are not wanted any more; return how many there were.

    A copy or report that a PACS stored stays, file and row, until it is withdrawn there: without it nothing would say
    that the PACS has it.
    """
    todo = [part for part in parts_of(output) if any(row["status"] == OUTDATED for row in read_part(part))]
    current = current_files(output) if todo else np.empty(0, np.int64)
    removed = 0
    for part in todo:
        rows = read_part(part)
        gone = [row for row in rows if row["status"] == OUTDATED and not is_out_there(row)]
        for row in gone:
            remove_drafts(row["url"])
        for row in outdated_rows(gone, current):
            removed += remove_file(row["url"])
        dropped = {id(row) for row in gone}
        write_part(part, [row for row in rows if id(row) not in dropped])
    return removed


def is_out_there(row: Row) -> bool:
    """Whether a PACS has stored a row's object, and a note could withdraw it; notes themselves cannot be."""
    return bool(row["sent"] == STORED and row["kind"] != Kind.REJECTION)


def remove_all(output: str, *, dry_run: bool, withdrawn_from: str | None) -> dict[str, int]:
    """Delete every file that the table names, and the table; return counts by kind and of what a PACS still has.

    Args:
        output: URL of the labels.
        dry_run: Count alone.
        withdrawn_from: URL of the PACS that was asked to withdraw what it stored; what it still has keeps file and row,
            so that it can be asked again.
    """
    counts: dict[str, int] = {}
    for part in parts_of(output):
        rows = read_part(part)
        remaining = [row for row in rows if is_out_there(row) and row["sent_to"] == withdrawn_from]
        stays = {row["url"] for row in remaining}
        for row in rows:
            if row["url"] is not None and row["url"] not in stays:
                was_there = storage.exists(row["url"]) if dry_run else remove_file(row["url"])
                counts[row["kind"]] = counts.get(row["kind"], 0) + was_there
            if row["sent"] == STORED:
                counts["stored_elsewhere"] = counts.get("stored_elsewhere", 0) + 1
        if not dry_run:
            write_part(part, remaining)
    return counts
